package qmp

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// The bounds of a message. The longest answers known are those of query-qmp-schema,
// which stay below a megabyte.
const (
	MaxMessage = 16 << 20 // bytes
	MaxDepth   = 64       // objects and arrays within each other
)

// ErrProtocol is the cause when the other side sent something that is not QMP.
var ErrProtocol = errors.New("not QMP")

// A Version is the version of QEMU.
type Version struct {
	Major int `json:"major"`
	Minor int `json:"minor"`
	Micro int `json:"micro"`
}

// String returns the version as in 10.0.2.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Micro) }

// AtLeast reports whether v is major.minor or later.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// An Event is something that happened in QEMU or its guest.
type Event struct {
	Name string          // such as SHUTDOWN
	Data json.RawMessage // an object, or nil
	Time time.Time       // zero if QEMU could not tell
}

// message is whatever arrives: a greeting, an answer, an event.
type message struct {
	QMP *struct {
		Version struct {
			QEMU Version `json:"qemu"`
		} `json:"version"`
	} `json:"QMP"`

	ID     json.RawMessage `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *Error          `json:"error"`

	Event     string          `json:"event"`
	Data      json.RawMessage `json:"data"`
	Timestamp struct {
		Seconds      int64 `json:"seconds"`
		Microseconds int64 `json:"microseconds"`
	} `json:"timestamp"`
}

// event returns the event m is.
func (m *message) event() Event {
	e := Event{Name: m.Event, Data: m.Data}
	if s, us := m.Timestamp.Seconds, m.Timestamp.Microseconds; s > 0 && us >= 0 && us < 1e6 {
		e.Time = time.Unix(s, us*1000)
	}
	return e
}

// readMessage reads the next message, one line of JSON. Its error is io.EOF at
// the end between messages, and else wraps ErrProtocol or is the reader's.
func readMessage(r *bufio.Reader) (*message, error) {
	line, err := readLine(r)
	if err != nil {
		return nil, err
	}
	if err := checkDepth(line); err != nil {
		return nil, err
	}
	m := new(message)
	if err := json.Unmarshal(line, m); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrProtocol, err)
	}
	kinds := 0
	for _, is := range []bool{m.QMP != nil, m.Event != "", m.Return != nil, m.Error != nil} {
		if is {
			kinds++
		}
	}
	if kinds != 1 {
		return nil, fmt.Errorf("%w: a message that is neither greeting, answer nor event", ErrProtocol)
	}
	return m, nil
}

// readLine returns the next line that is not empty.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > MaxMessage {
			return nil, fmt.Errorf("%w: a message of more than %d bytes", ErrProtocol, MaxMessage)
		}
		line = append(line, part...)
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && !blank(line):
			return nil, fmt.Errorf("in the middle of a message: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return nil, err
		case blank(line):
			line = line[:0]
			continue
		}
		return line, nil
	}
}

func blank(line []byte) bool {
	for _, c := range line {
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// checkDepth refuses text nested deeper than MaxDepth before it is decoded.
func checkDepth(text []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > MaxDepth {
				return fmt.Errorf("%w: a message nested deeper than %d", ErrProtocol, MaxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
