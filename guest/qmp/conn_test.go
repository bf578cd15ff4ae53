package qmp_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/project-independence/indy/guest/qmp"
	"github.com/project-independence/indy/guest/qmp/qmptest"
)

func dial(t *testing.T, s *qmptest.Server) *qmp.Conn {
	t.Helper()
	c, err := qmp.New(t.Context(), s.Dial())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// script is a server that says what it is told to, one line for each line read,
// the first before any.
func script(t *testing.T, lines ...string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		in := bufio.NewScanner(server)
		for i, line := range lines {
			if i > 0 && !in.Scan() {
				return
			}
			if _, err := io.WriteString(server, line); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { client.Close() })
	return client
}

const (
	greeting = `{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": "x"}, "capabilities": ["oob"]}}` + "\r\n"
	agreed   = `{"return": {}, "id": 1}` + "\r\n"
)

func TestCall(t *testing.T) {
	c := dial(t, &qmptest.Server{
		Version: qmp.Version{Major: 9, Minor: 1, Micro: 3},
		Answer: func(command string, args json.RawMessage) (any, error) {
			return map[string]string{"command": command, "args": string(args)}, nil
		},
	})
	var got struct{ Command, Args string }
	if err := c.Call(t.Context(), "device_del", map[string]string{"id": "a,b\n"}, &got); err != nil {
		t.Fatal(err)
	}
	if got.Command != "device_del" || got.Args != `{"id":"a,b\n"}` {
		t.Errorf("got %+v", got)
	}
	if v := c.Version(); v.String() != "9.1.3" || !v.AtLeast(9, 1) || !v.AtLeast(8, 9) || v.AtLeast(9, 2) || v.AtLeast(10, 0) {
		t.Errorf("version %v", v)
	}
}

func TestCallsAtOnce(t *testing.T) {
	c := dial(t, &qmptest.Server{Answer: func(_ string, args json.RawMessage) (any, error) { return args, nil }})
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			var got struct{ N int }
			if err := c.Call(t.Context(), "echo", map[string]int{"N": i}, &got); err != nil || got.N != i {
				t.Errorf("call %d answered %d, %v", i, got.N, err)
			}
		})
	}
	wg.Wait()
}

func TestRefusalIsError(t *testing.T) {
	c := dial(t, &qmptest.Server{Answer: func(string, json.RawMessage) (any, error) {
		return nil, &qmp.Error{Class: "DeviceNotFound", Desc: "Device 'x' not found"}
	}})
	err := c.Call(t.Context(), "device_del", nil, nil)
	var op *qmp.OpError
	var refusal *qmp.Error
	if !errors.As(err, &op) || op.Op != "device_del" || !errors.As(err, &refusal) || refusal.Class != "DeviceNotFound" {
		t.Fatalf("%#v", err)
	}
	if got, want := err.Error(), "qmp device_del: Device 'x' not found"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := c.Call(t.Context(), "again", nil, nil); errors.Is(err, io.EOF) {
		t.Errorf("a refusal ended the connection: %v", err)
	}
}

func TestEventBeforeAnswerIsNotTheAnswer(t *testing.T) {
	s := new(qmptest.Server)
	s.Answer = func(string, json.RawMessage) (any, error) {
		s.Event("STOP", nil)
		s.Event("DEVICE_DELETED", map[string]string{"device": "d1"})
		return map[string]string{"status": "paused"}, nil
	}
	c := dial(t, s)
	all, some := c.Subscribe(), c.Subscribe("DEVICE_DELETED")
	var got struct{ Status string }
	if err := c.Call(t.Context(), "query-status", nil, &got); err != nil || got.Status != "paused" {
		t.Fatalf("%+v, %v", got, err)
	}
	if e := <-all.C(); e.Name != "STOP" || !e.Time.Equal(time.Unix(1, 500000000)) {
		t.Errorf("first event %+v", e)
	}
	if e := <-some.C(); e.Name != "DEVICE_DELETED" || string(e.Data) != `{"device":"d1"}` {
		t.Errorf("named event %+v", e)
	}
	some.Close()
	some.Close()
	c.Close()
	if e := <-all.C(); e.Name != "DEVICE_DELETED" {
		t.Errorf("queued event %+v", e)
	}
	if _, ok := <-all.C(); ok {
		t.Error("the channel outlives the connection")
	}
	if _, ok := <-c.Subscribe().C(); ok {
		t.Error("an event after the end")
	}
}

func TestEventsNeverHoldUpCalls(t *testing.T) {
	s := new(qmptest.Server)
	s.Answer = func(string, json.RawMessage) (any, error) {
		for range 1000 {
			s.Event("RTC_CHANGE", nil)
		}
		return nil, nil
	}
	c := dial(t, s)
	deaf := c.Subscribe()
	if err := c.Call(t.Context(), "x", nil, nil); err != nil {
		t.Fatal(err)
	}
	if n := uint64(len(deaf.C())); n+deaf.Dropped() != 1000 || deaf.Dropped() == 0 {
		t.Errorf("%d events queued and %d dropped of 1000", n, deaf.Dropped())
	}
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		go func() {
			io.WriteString(server, greeting)
			in := bufio.NewScanner(server)
			in.Scan()
			io.WriteString(server, agreed)
			for in.Scan() { // reads, and says nothing
			}
		}()
		c, err := qmp.New(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := c.Call(ctx, "query-status", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("took %v", d)
		}
	})
}

func TestNoGreeting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := qmp.New(ctx, client); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

func TestUnreadCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer server.Close()
		go func() {
			io.WriteString(server, greeting)
			bufio.NewReaderSize(server, 16).ReadSlice('}')
			in := make([]byte, 4096)
			server.Read(in)
			io.WriteString(server, agreed)
		}()
		c, err := qmp.New(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 2 { // nothing was sent, so the second call is as good as the first
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err = c.Call(ctx, "stop", nil, nil)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		}
		if c.Err() != nil {
			t.Errorf("over: %v", c.Err())
		}
	})
}

func TestBadStreams(t *testing.T) {
	deep := strings.Repeat(`[`, qmp.MaxDepth+1)
	tests := []struct {
		name   string
		stream []string
		want   error
	}{
		{"nothing", []string{""}, io.EOF},
		{"half a greeting", []string{greeting[:20]}, io.ErrUnexpectedEOF},
		{"not JSON", []string{"HTTP/1.1 400 Bad Request\r\n"}, qmp.ErrProtocol},
		{"an array", []string{"[]\n"}, qmp.ErrProtocol},
		{"an empty object", []string{"{}\n"}, qmp.ErrProtocol},
		{"two messages on a line", []string{`{"return":{}}{"return":{}}` + "\n"}, qmp.ErrProtocol},
		{"an answer first", []string{agreed}, qmp.ErrProtocol},
		{"too deep", []string{`{"QMP":` + deep + "\n"}, qmp.ErrProtocol},
		{"a greeting twice", []string{greeting, greeting}, qmp.ErrProtocol},
		{"an answer without id", []string{greeting, `{"return": {}}` + "\n"}, qmp.ErrProtocol},
		{"an answer to no call", []string{greeting, `{"return": {}, "id": 2}` + "\n"}, qmp.ErrProtocol},
		{"an id that is text", []string{greeting, `{"return": {}, "id": "1"}` + "\n"}, qmp.ErrProtocol},
		{"answer and error", []string{greeting, `{"return": {}, "error": {}, "id": 1}` + "\n"}, qmp.ErrProtocol},
		{"QEMU did not understand", []string{greeting, `{"error": {"class": "GenericError", "desc": "no"}}` + "\n"}, qmp.ErrProtocol},
		{"end instead of an answer", []string{greeting, ""}, io.EOF},
		{"refused", []string{greeting, `{"error": {"class": "GenericError", "desc": "no"}, "id": 1}` + "\n"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := qmp.New(t.Context(), script(t, tt.stream...))
			if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			var op *qmp.OpError
			if !errors.As(err, &op) {
				t.Errorf("%T is no OpError", err)
			}
		})
	}
}

func TestTooLong(t *testing.T) {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		block := []byte(strings.Repeat("x", 1<<20))
		for {
			if _, err := server.Write(block); err != nil {
				return
			}
		}
	}()
	if _, err := qmp.New(t.Context(), client); !errors.Is(err, qmp.ErrProtocol) {
		t.Errorf("%v", err)
	}
}

func TestAfterTheEnd(t *testing.T) {
	s := new(qmptest.Server)
	client := s.Dial()
	c, err := qmp.New(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	if c.Err() != nil {
		t.Errorf("Err() = %v while open", c.Err())
	}
	c.Close()
	c.Close()
	for range 2 {
		if err := c.Call(t.Context(), "x", nil, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%v", err)
		}
	}
	if !errors.Is(c.Err(), net.ErrClosed) {
		t.Errorf("Err() = %v", c.Err())
	}
}

func TestQEMUGoesAway(t *testing.T) {
	s := new(qmptest.Server)
	client, server := net.Pipe()
	s.Answer = func(string, json.RawMessage) (any, error) {
		server.Close()
		return nil, nil
	}
	go s.Serve(server)
	c, err := qmp.New(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	err = c.Call(t.Context(), "quit", nil, nil)
	if got, want := fmt.Sprint(err), "qmp quit: QEMU closed the connection: EOF"; got != want || !errors.Is(err, io.EOF) {
		t.Errorf("%q, want %q", got, want)
	}
	<-c.Done()
	if err := c.Call(t.Context(), "cont", nil, nil); !errors.Is(err, io.EOF) {
		t.Errorf("%v", err)
	}
}

func TestLateAnswerIsNobodys(t *testing.T) {
	held := make(chan struct{})
	c := dial(t, &qmptest.Server{Answer: func(command string, _ json.RawMessage) (any, error) {
		if command == "slow" {
			<-held
		}
		return map[string]string{"to": command}, nil
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	close(held)
	var got struct{ To string }
	if err := c.Call(t.Context(), "fast", nil, &got); err != nil || got.To != "fast" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestSendFile(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	client, server := unixConn(t, fds[0]), unixConn(t, fds[1])
	received := make(chan *os.File, 1)
	go func() {
		defer close(received)
		io.WriteString(server, greeting)
		text, oob := make([]byte, 4096), make([]byte, 64)
		server.Read(text)
		io.WriteString(server, agreed)
		_, n, _, _, err := server.ReadMsgUnix(text, oob)
		if err != nil {
			return
		}
		if msgs, err := syscall.ParseSocketControlMessage(oob[:n]); err == nil && len(msgs) == 1 {
			if fds, err := syscall.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
				received <- os.NewFile(uintptr(fds[0]), "received")
			}
		}
		io.WriteString(server, `{"return": {"fd": 9, "fdset-id": 3}, "id": 2}`+"\n")
	}()
	c, err := qmp.New(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := c.SendFile(t.Context(), f, 3); err != nil {
		t.Fatal(err)
	}
	got := <-received
	if got == nil {
		t.Fatal("no file arrived")
	}
	defer got.Close()
	if b, err := io.ReadAll(got); string(b) != "content" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestSendFileNeedsUnixSocket(t *testing.T) {
	c := dial(t, new(qmptest.Server))
	if err := c.SendFile(t.Context(), os.Stdin, 1); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v", err)
	}
	if err := c.Call(t.Context(), "x", nil, nil); err != nil {
		t.Errorf("the refusal broke the connection: %v", err)
	}
}

func unixConn(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn)
}
