// Package qmptest is the other side of a QMP connection for tests: a server that
// greets, negotiates and answers as QEMU does, with answers from a Go function.
package qmptest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/project-independence/indy/guest/qmp"
)

// A Server answers as QEMU does. Set its fields before it is served.
type Server struct {
	// Version is greeted with; the zero value stands for 10.0.0.
	Version qmp.Version

	// Answer returns what command returns. An error that is a *qmp.Error is sent as
	// it is, any other as one of class GenericError. A nil Answer, and a nil result,
	// answer with an empty object. It is called from one goroutine.
	Answer func(command string, args json.RawMessage) (any, error)

	mu   sync.Mutex
	conn io.Writer
}

// Dial serves one connection in a goroutine that ends when the connection does,
// and returns the client's end.
func (s *Server) Dial() net.Conn {
	client, server := net.Pipe()
	go s.Serve(server)
	return client
}

// Serve serves conn until it ends, and closes it.
func (s *Server) Serve(conn net.Conn) error {
	defer conn.Close()
	version := s.Version
	if version == (qmp.Version{}) {
		version.Major = 10
	}
	s.mu.Lock()
	s.conn = conn
	s.mu.Unlock()
	err := s.send(map[string]any{"QMP": map[string]any{
		"version":      map[string]any{"qemu": version, "package": ""},
		"capabilities": []string{"oob"},
	}})
	if err != nil {
		return err
	}
	negotiated := false
	in := bufio.NewScanner(conn)
	in.Buffer(nil, qmp.MaxMessage)
	for in.Scan() {
		var c struct {
			Execute   string          `json:"execute"`
			Arguments json.RawMessage `json:"arguments"`
			ID        json.RawMessage `json:"id"`
		}
		answer := map[string]any{}
		if err := json.Unmarshal(in.Bytes(), &c); err != nil {
			answer["error"] = &qmp.Error{Class: "GenericError", Desc: "JSON parse error"}
		} else {
			answer["id"] = c.ID
			result, err := s.answer(c.Execute, c.Arguments, &negotiated)
			if e, ok := err.(*qmp.Error); ok {
				answer["error"] = e
			} else if err != nil {
				answer["error"] = &qmp.Error{Class: "GenericError", Desc: err.Error()}
			} else {
				answer["return"] = result
			}
		}
		if err := s.send(answer); err != nil {
			return err
		}
	}
	return in.Err()
}

func (s *Server) answer(command string, args json.RawMessage, negotiated *bool) (any, error) {
	if command == "qmp_capabilities" && !*negotiated {
		*negotiated = true
		return struct{}{}, nil
	}
	if !*negotiated || command == "qmp_capabilities" {
		return nil, &qmp.Error{Class: "CommandNotFound", Desc: fmt.Sprintf("The command %s has not been found", command)}
	}
	if s.Answer == nil {
		return struct{}{}, nil
	}
	result, err := s.Answer(command, args)
	if result == nil {
		result = struct{}{}
	}
	return result, err
}

// Event sends an event to the client. Called from Answer, it comes before the
// answer.
func (s *Server) Event(name string, data any) error {
	if data == nil {
		data = struct{}{}
	}
	return s.send(map[string]any{
		"event": name, "data": data,
		"timestamp": map[string]any{"seconds": 1, "microseconds": 500000},
	})
}

func (s *Server) send(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == nil {
		return net.ErrClosed
	}
	_, err = s.conn.Write(append(text, '\r', '\n'))
	return err
}
