package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxReport is more than a stage has to say.
const maxReport = 64 << 10

// A Report is what the stage says of itself to who started it.
type Report struct {
	// Kept is what could not be taken from the process and need not be, as the host does
	// not have it or the user may not: by name the reason.
	Kept map[string]string `json:"kept,omitempty"`

	// Error is why the program was not executed, nil if it was.
	Error *Error `json:"error,omitempty"`
}

// An Error is why a stage ended.
type Error struct {
	Text  string        `json:"text"`
	Errno syscall.Errno `json:"errno,omitempty"` // the kernel's reason, or 0
}

// Error returns Text.
func (e *Error) Error() string { return e.Text }

// Unwrap returns Errno if the kernel gave one.
func (e *Error) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// say writes r as one line.
func (r Report) say(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// failed returns err as it is told.
func failed(err error) *Error {
	e := &Error{Text: err.Error()}
	errors.As(err, &e.Errno)
	return e
}

// ReadReport reads what a stage says, until the program is executed or the stage has
// ended, and blocks as long. An error of the stage is an *Error.
func ReadReport(r io.Reader) (Report, error) {
	var all Report
	d := json.NewDecoder(io.LimitReader(r, maxReport))
	said := false
	for {
		var one Report
		err := d.Decode(&one)
		switch {
		case errors.Is(err, io.EOF) && said:
			return all, nil
		case errors.Is(err, io.EOF):
			return all, errors.New("the jail stage ended without a word")
		case err != nil:
			return all, fmt.Errorf("the jail stage says what is no report: %w", err)
		case one.Error != nil:
			return all, one.Error
		}
		all, said = one, true
	}
}

// readSpec reads the Spec from an inherited file.
func readSpec(f *os.File) (Spec, error) {
	data, err := io.ReadAll(io.LimitReader(f, maxSpec+1))
	if err != nil {
		return Spec{}, err
	}
	return Parse(data)
}
