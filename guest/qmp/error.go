package qmp

// An Error is QEMU's answer that a command failed.
type Error struct {
	// Class is GenericError for almost everything; CommandNotFound and
	// DeviceNotFound are worth telling apart.
	Class string `json:"class"`
	// Desc is QEMU's sentence for people.
	Desc string `json:"desc"`
}

// Error returns QEMU's sentence.
func (e *Error) Error() string {
	if e.Desc == "" {
		return "QEMU answered with an error of class " + e.Class
	}
	return e.Desc
}

// An OpError is a call that failed.
type OpError struct {
	// Op is the command, or "connect" for what New does.
	Op string
	// Err is why: an *Error if QEMU refused; the context's error if it ended first;
	// io.EOF if QEMU closed the connection and net.ErrClosed if Close did;
	// ErrProtocol if the other side sent what is not QMP.
	Err error
}

// Error names the command and the reason.
func (e *OpError) Error() string { return "qmp " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *OpError) Unwrap() error { return e.Err }
