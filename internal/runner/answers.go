package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

func (s *server) status(w http.ResponseWriter, _ *http.Request) { answer(w, s.r.look()) }

// A StopRequest says how a guest is to be stopped.
type StopRequest struct {
	// Force ends QEMU at once, as a power cut would.
	Force bool `json:"force"`

	// Timeout is how long the guest may take to shut itself down, in seconds; 0 is ten.
	Timeout float64 `json:"timeout"`
}

// maxTimeout is how long a guest may be given to shut itself down: an update of Windows
// takes an hour.
const maxTimeout = 24 * time.Hour

// stop answers when the guest has ended and its devices are given back.
func (s *server) stop(w http.ResponseWriter, q *http.Request) {
	var how StopRequest
	if err := json.NewDecoder(q.Body).Decode(&how); err != nil && !errors.Is(err, io.EOF) {
		answerError(w, http.StatusBadRequest, fmt.Errorf("what is asked is not understood: %w", err))
		return
	}
	if !(how.Timeout >= 0 && how.Timeout <= maxTimeout.Seconds()) {
		answerError(w, http.StatusBadRequest, fmt.Errorf("%g seconds are no time to wait", how.Timeout))
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // it may take long, and is heard all the while
	s.r.stop(how.Force, time.Duration(how.Timeout*float64(time.Second)))
	select {
	case <-s.r.over:
		s.r.mu.Lock()
		now := s.r.status.clone()
		s.r.mu.Unlock()
		answer(w, now)
	case <-q.Context().Done(): // who has asked has gone; the guest ends all the same
	}
}

// doing gives QEMU a command, and answers with what the guest is doing then.
func (s *server) doing(command string) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		ctx, cancel := context.WithTimeout(q.Context(), commandTimeout)
		defer cancel()
		if err := s.r.command(ctx, command, nil, nil); err != nil {
			refuse(w, err)
			return
		}
		answer(w, s.r.look())
	}
}

// follow answers with what a tape has, and with follow=1 with what comes, too.
func (s *server) follow(t *tape) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		c := http.NewResponseController(w)
		_ = c.SetWriteDeadline(time.Now().Add(writeLimit))
		if q.URL.Query().Get("follow") != "1" {
			_, _ = w.Write(t.text())
			return
		}
		_ = c.SetReadDeadline(time.Time{})
		past, e := t.listen()
		defer t.hangUp(e)
		_, err := w.Write(past)
		for err == nil {
			if err = c.Flush(); err != nil {
				return
			}
			var more []byte
			select {
			case chunk, ok := <-e.c:
				if !ok {
					return
				}
				more = chunk
			case <-q.Context().Done():
				return
			case <-s.r.over:
				_, _ = w.Write(e.rest())
				return
			}
			_ = c.SetWriteDeadline(time.Now().Add(writeLimit))
			_, err = w.Write(more)
		}
	}
}

// consoleProtocol is what a connection for the console is upgraded to: the bytes of the
// serial port in both directions, and nothing else.
const consoleProtocol = "indy-console"

// console answers with the last of what the guest wrote, and when the connection is to be
// upgraded with what it writes and reads from now on.
func (s *server) console(w http.ResponseWriter, q *http.Request) {
	if !strings.EqualFold(q.Header.Get("Upgrade"), consoleProtocol) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
		_, _ = w.Write(s.r.console.text())
		return
	}
	past, e := s.r.console.listen()
	defer s.r.console.hangUp(e)
	s.consoles.Add(1) // Shutdown does not know of it any more
	defer s.consoles.Done()
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		answerError(w, http.StatusInternalServerError, err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Time{}) // those of requests are not meant
	hello := fmt.Sprintf("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", consoleProtocol)
	_, err = conn.Write(append([]byte(hello), past...))
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = io.Copy(struct{ io.Writer }{s.r.input}, both)
	}()
	for err == nil {
		select {
		case chunk, ok := <-e.c:
			if !ok {
				return
			}
			_ = conn.SetWriteDeadline(time.Now().Add(writeLimit))
			_, err = conn.Write(chunk)
		case <-gone:
			return
		case <-s.r.over:
			_ = conn.SetWriteDeadline(time.Now().Add(lastLook))
			_, _ = conn.Write(e.rest())
			return
		}
	}
}
