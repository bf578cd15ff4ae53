package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"syscall"

	"github.com/project-independence/indy/internal/runner"
)

// An Error is one of the keeper's, as the runner has it.
type Error struct {
	// Failure says it as a command would.
	Failure runner.Failure `json:"failure"`

	// Kinds are what the error is, by their names.
	Kinds []string `json:"kinds,omitempty"`
}

// kinds are the errors that somebody asks for.
var kinds = map[string]error{
	"not-exist": fs.ErrNotExist, "exist": fs.ErrExist, "permission": fs.ErrPermission, "unsupported": errors.ErrUnsupported,
	"busy": syscall.EBUSY, "no-memory": syscall.ENOMEM, "canceled": context.Canceled,
}

// errorOf makes an error one that can be sent.
func errorOf(err error, explain func(error) runner.Failure) *Error {
	e := &Error{Failure: explain(err)}
	if len(e.Failure.Message)+len(e.Failure.Findings) > maxPacket/8 { // each byte may be six in JSON
		e.Failure.Findings = nil
		e.Failure.Message = e.Failure.Message[:min(len(e.Failure.Message), maxPacket/8)]
	}
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			e.Kinds = append(e.Kinds, name)
		}
	}
	return e
}

// Error returns the message.
func (e *Error) Error() string { return e.Failure.Message }

// Is reports whether the keeper's error was target.
func (e *Error) Is(target error) bool {
	for _, name := range e.Kinds {
		if kind, ok := kinds[name]; ok && kind == target {
			return true
		}
	}
	return false
}

// Explain returns what is to be said of err: what the keeper says of it, if it is one of its.
func Explain(err error, explain func(error) runner.Failure) runner.Failure {
	f := explain(err)
	var e *Error
	if errors.As(err, &e) {
		f.Exit, f.Findings = e.Failure.Exit, append(json.RawMessage(nil), e.Failure.Findings...)
	}
	return f
}
