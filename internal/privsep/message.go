package privsep

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/runner"
	"github.com/project-independence/indy/internal/wire"
)

// Socket is where the broker answers.
const Socket = "/run/indy/broker.sock"

// The verbs.
const (
	listVerb     = "list"     // definitions, in a file
	readVerb     = "read"     // one
	createVerb   = "create"   // makes one, for who is connected by the file
	replaceVerb  = "replace"  // changes one, as create
	deleteVerb   = "delete"   // forgets one, as create
	startVerb    = "start"    // a runner; the file is what it announces
	connectVerb  = "connect"  // to a runner
	openVerb     = "open"     // a file in which a runner keeps something
	lockedVerb   = "locked"   // whether there is a runner
	forgetVerb   = "forget"   // what is kept of a guest that has failed
	documentVerb = "document" // what a command writes, in a file
	inhibitVerb  = "inhibit"  // a file by which logind waits
	lidVerb      = "lid"      // the input device of a lid's switch
)

// maxMessage is how long a request or an answer may be: a definition and what goes with it.
const maxMessage = 160 << 10

// maxFile is how much is read of a file that is an answer.
const maxFile = 64 << 20

// A request is what the daemon asks.
type request struct {
	Verb   string `json:"verb"`
	Name   string `json:"name,omitempty"`   // of a guest, of an input device
	What   string `json:"what,omitempty"`   // which file or document
	Before string `json:"before,omitempty"` // the sum of the definition that is changed
	Text   []byte `json:"text,omitempty"`
	Key    []byte `json:"key,omitempty"`
	Size   int64  `json:"size,omitempty"`
	On     bool   `json:"on,omitempty"` // with disks; about the lid
}

// An answer is what it is told.
type answer struct {
	Text  []byte   `json:"text,omitempty"`
	Names []string `json:"names,omitempty"`
	On    bool     `json:"on,omitempty"`
	Error *Error   `json:"error,omitempty"`
}

// definitions are the file that is the answer of listVerb.
type definitions struct {
	All    []definition `json:"all"`
	Errors []string     `json:"errors"`
}

type definition struct {
	Name string `json:"name"`
	Text []byte `json:"text"`
}

// sum is how a definition is named that was read before.
func sum(text []byte) string {
	s := sha256.Sum256(text)
	return hex.EncodeToString(s[:])
}

// send sends v as JSON, with a file unless that is nil.
func send(c *net.UnixConn, v any, file *os.File) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	defer clear(text) // there may be a key in it
	if len(text) > maxMessage {
		return errors.New("a message is too long for the broker's socket")
	}
	var files []*os.File
	if file != nil {
		files = []*os.File{file}
	}
	return wire.Send(c, text, files)
}

// receive waits for a message and reads it into v. A file that comes with it is the caller's.
func receive(c *net.UnixConn, v any) (*os.File, error) {
	text, files, err := wire.Receive(c, maxMessage, 1)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err = d.Decode(v); err == nil {
		if _, more := d.Token(); more != io.EOF {
			err = errors.New("more than one message")
		}
	}
	if err != nil {
		wire.Close(files)
		return nil, err
	}
	if len(files) == 0 {
		return nil, nil
	}
	return files[0], nil
}

// fileOf makes a file in memory of text.
func fileOf(text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("answer", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "answer")
	if _, err = f.Write(text); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// An Error is one of the broker's, as the daemon has it.
type Error struct {
	Text  string   `json:"text"`
	Kinds []string `json:"kinds,omitempty"` // what it is
	Code  int      `json:"code,omitempty"`  // of HTTP, if it has one
}

// kinds are the errors that the daemon asks for.
func kinds() map[string]error {
	return map[string]error{
		"not-exist": fs.ErrNotExist, "exist": fs.ErrExist, "permission": fs.ErrPermission, "unsupported": errors.ErrUnsupported,
		"refused": syscall.ECONNREFUSED, "late": context.DeadlineExceeded,
		"locked": store.ErrLocked, "changed": store.ErrChanged, "runs": runner.ErrRuns,
	}
}

// errorOf makes an error one that can be sent.
func errorOf(err error) *Error {
	e := &Error{Text: err.Error()}
	if len(e.Text) > maxMessage/8 { // each byte may be six in JSON
		e.Text = e.Text[:maxMessage/8]
	}
	var coded interface{ GetStatus() int }
	if errors.As(err, &coded) {
		e.Code = coded.GetStatus()
	}
	for name, kind := range kinds() {
		if errors.Is(err, kind) {
			e.Kinds = append(e.Kinds, name)
		}
	}
	return e
}

// Error returns what the broker said.
func (e *Error) Error() string { return e.Text }

// Is reports whether the broker's error was target.
func (e *Error) Is(target error) bool {
	all := kinds()
	for _, name := range e.Kinds {
		if kind, ok := all[name]; ok && kind == target {
			return true
		}
	}
	return false
}

// coded is an error with a code of HTTP.
type coded struct{ err *Error }

func (c coded) Error() string { return c.err.Error() }

// Unwrap returns the error.
func (c coded) Unwrap() error { return c.err }

// Status is for the daemon's answer.
func (c coded) Status() int { return c.err.Code }
