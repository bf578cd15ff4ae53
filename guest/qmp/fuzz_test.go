package qmp_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/project-independence/indy/guest/qmp"
)

// FuzzStream feeds a connection any bytes at all. It must end without a panic and
// without waiting, and every call must return.
func FuzzStream(f *testing.F) {
	for _, s := range []string{
		"",
		greeting,
		greeting + agreed,
		greeting + agreed + `{"return": {"status": "running"}, "id": 2}` + "\n",
		greeting + agreed + `{"error": {"class": "GenericError", "desc": "no"}, "id": 2}` + "\n",
		greeting + `{"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}` + "\n" + agreed,
		greeting + `{"return": [], "id": 1, "event": "x"}` + "\n",
		greeting + `{"return": {}, "id": 18446744073709551616}` + "\n",
		greeting + `{"return": {}, "id": null}` + "\n",
		`{"QMP": {"version": {"qemu": {"major": "10"}}}}` + "\n",
		`{"QMP": [[[[[[[[[[[[[[[[[[`,
		"\xff\xfe\n\n\n", "\r\n\r\n{}",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		client, server := net.Pipe()
		go io.Copy(io.Discard, server)
		go func() {
			server.Write(stream)
			server.Close()
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := qmp.New(ctx, client)
		if err != nil {
			if ctx.Err() != nil {
				t.Fatal("New waited for more than the stream")
			}
			return
		}
		events := c.Subscribe()
		var result any
		c.Call(ctx, "query-status", nil, &result)
		if ctx.Err() != nil {
			t.Fatal("Call waited for more than the stream")
		}
		c.Close()
		for range events.C() {
		}
	})
}
