package daemon

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/runner"
)

// serve has the daemon answer on a socket for as long as the test runs.
func (f fixture) serve(t *testing.T) (socket string) {
	t.Helper()
	l := listenIn(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func (f fixture) client(t *testing.T) *Client {
	t.Helper()
	c, err := Dial(f.serve(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestClient has a client do what there is to be done, over a socket.
func TestClient(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	f := newFixture(t)
	c, ctx := f.client(t), t.Context()
	v, err := c.Version(ctx)
	if err != nil || v.Version != "test" || v.Role != "admin" || v.UID != 0 {
		t.Errorf("%+v, %v", v, err)
	}
	made, err := c.Create(ctx, "name: third\nmemory: 1GiB\n", 0, nil)
	if err != nil || made.Name != "third" {
		t.Errorf("%+v, %v", made, err)
	}
	for what, text := range map[string]string{"422": "name: third\nmemory: 1GB\n", "409": "name: third\nmemory: 1GiB\n"} {
		var refused *RefusalError
		if _, err := c.Create(ctx, text, 0, nil); !errors.As(err, &refused) || fmt.Sprint(refused.Code) != what {
			t.Errorf("%v, want %s", err, what)
		}
	}
	if s, err := c.Start(ctx, "third", nil); err != nil || s.State != "running" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Start(ctx, "third", nil); err == nil || !strings.Contains(err.Error(), runner.ErrRuns.Error()) {
		t.Errorf("started twice: %v", err)
	}
	if _, err := c.Delete(ctx, "third", true); err == nil || !strings.Contains(err.Error(), runner.ErrRuns.Error()) {
		t.Errorf("deleted while it runs: %v", err)
	}
	l, err := c.List(ctx)
	if err != nil || len(l.Guests) != 3 || len(l.Errors) != 0 || l.Guests[2].Status.State != "running" || !l.Guests[1].Locked {
		t.Errorf("%+v, %v", l, err)
	}
	if top, err := c.Top(ctx, "third"); err != nil || top.CPUSeconds != 1.5 {
		t.Errorf("%+v, %v", top, err)
	}
	if p, err := c.Kept(ctx, "third", "screenshot"); err != nil || string(p) != "\x89PNG" {
		t.Errorf("%q, %v", p, err)
	}
	if _, err := c.Suspend(ctx, "third"); err != nil {
		t.Error(err)
	}
	if _, err := c.Resume(ctx, "third"); err != nil {
		t.Error(err)
	}
	if s, err := c.Stop(ctx, "third", time.Second); err != nil || s.State != "stopped" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := c.Suspend(ctx, "third"); err == nil || !strings.Contains(err.Error(), ErrNoRunner.Error()) {
		t.Errorf("suspended while it does not run: %v", err)
	}
	f.runners.mu.Lock()
	f.runners.fails["third"] = "no such disk"
	f.runners.mu.Unlock()
	if _, err := c.Start(ctx, "third", nil); err == nil || !strings.Contains(err.Error(), "guest third failed: no such disk") {
		t.Errorf("%v", err)
	}
	if s, err := c.Status(ctx, "third"); err != nil || s.State != "failed" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := c.Stop(ctx, "third", 0); err != nil || s.State != "stopped" {
		t.Errorf("a guest that has failed is not forgotten: %+v, %v", s, err)
	}
	shown, err := c.Show(ctx, "third")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Edit(ctx, "third", "else", shown.Definition); err == nil || !strings.Contains(err.Error(), "changed") {
		t.Errorf("edited what is another by now: %v", err)
	}
	if e, err := c.Edit(ctx, "third", shown.Definition, shown.Definition+"locked: true\n"); err != nil || !e.Locked {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := c.Delete(ctx, "third", true); err != nil {
		t.Error(err)
	}
	var refused *RefusalError
	if _, err := c.Show(ctx, "third"); !errors.As(err, &refused) || refused.Code != http.StatusNotFound {
		t.Errorf("%v", err)
	}
	if doc, err := c.Document(ctx, "leases"); err != nil || string(doc) != "{\"leases\":[]}\n" {
		t.Errorf("%q, %v", doc, err)
	}
}

func TestDialNobody(t *testing.T) {
	if _, err := Dial(t.TempDir() + "/s"); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
	l := listenIn(t)
	_ = l.Close()
	if _, err := Dial(l.Addr().String()); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
}

// TestSlowVerb holds that what takes longer than a request may take to be read is not given
// up meanwhile.
func TestSlowVerb(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	if testing.Short() {
		t.Skip("takes longer than the deadline of a request")
	}
	t.Parallel()
	f := newFixture(t)
	f.Stop = 20 * time.Second
	f.runners.stops["free"] = readLimit + time.Second
	f.run(t, "free")
	c := f.client(t)
	begun := time.Now()
	s, err := c.Stop(t.Context(), "free", 20*time.Second)
	if err != nil || s.State != "stopped" || time.Since(begun) < readLimit {
		t.Errorf("%+v, %v after %s", s, err, time.Since(begun))
	}
}

// TestHostile has a user with a role, and then one without, take connections and say
// rubbish, and holds that others are answered all the same.
func TestHostile(t *testing.T) {
	if socket := os.Getenv("INDY_TEST_HOSTILE"); socket != "" {
		hostile(t, socket)
		return
	}
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "to be another user takes root")
	}
	f := newFixture(t)
	socket := f.serve(t)
	for _, groups := range [][]uint32{{991}, nil} {
		cmd := asUser(t, 1234, 1234, groups, "INDY_TEST_HOSTILE="+socket, "TestHostile")
		cmd.Stdout, cmd.Stdin = nil, nil
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(out)
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				t.Fatalf("%v", err)
			}
			if line == "holding\n" {
				break
			}
		}
		begun := time.Now()
		c, err := Dial(socket)
		if err != nil {
			t.Fatal(err)
		}
		l, err := c.List(t.Context())
		c.Close()
		if took := time.Since(begun); err != nil || len(l.Guests) != 2 || took > time.Second {
			t.Errorf("the owner gets %d guests, %v after %s", len(l.Guests), err, took)
		} else {
			t.Logf("groups %v: the owner is answered after %s", groups, took)
		}
		_ = in.Close()
		_, _ = io.Copy(io.Discard, r)
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v", err)
		}
	}
	if said := f.runners.asked(); len(said) > 0 {
		t.Errorf("somebody hostile has had %q done", said)
	}
}

// hostile is what the other process does: connections that are held, some that begin a
// request and do not end it, some with rubbish, some that announce more than they may.
func hostile(t *testing.T, socket string) {
	var held []net.Conn
	for i := range 1000 {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		held = append(held, c)
		_ = c.SetDeadline(time.Now().Add(time.Second))
		switch i % 5 {
		case 1:
			_, _ = io.WriteString(c, "POST /v1/guests/free/start HTTP/1.1\r\nHost: x\r\nX-A: ")
		case 2:
			_, _ = c.Write(slices.Repeat([]byte{0xff, 0, '\r', '\n'}, 256))
		case 3:
			_, _ = io.WriteString(c, "POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9999999999999\r\n\r\n{")
		case 4:
			_, _ = io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
		}
	}
	fmt.Println("\nholding")
	_, _ = io.Copy(io.Discard, os.Stdin)
	for _, c := range held {
		_ = c.Close()
	}
}

// TestRawRequests says odd things on a socket, as somebody who may ask.
func TestRawRequests(t *testing.T) {
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "without root there is no group that gives a role")
	}
	f := newFixture(t)
	socket := f.serve(t)
	large := strings.Repeat("x", maxBody+1)
	deep := strings.Repeat("[", 100000)
	for what, c := range map[string]struct {
		say  string
		want []string // the answer begins with one of these; none is a closed connection
	}{
		"no request":         {"\r\n\r\n\r\n", []string{"HTTP/1.1 400", ""}},
		"rubbish":            {"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", []string{"HTTP/1.1 400"}},
		"a long header":      {"GET /v1/guests HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", []string{"HTTP/1.1 431"}},
		"a large body":       {fmt.Sprintf("POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(large), large), []string{"HTTP/1.1 413"}},
		"deep":               {fmt.Sprintf("POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(deep), deep), []string{"HTTP/1.1 4"}},
		"another type":       {"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Type: application/cbor\r\nContent-Length: 1\r\n\r\n\xa0", []string{"HTTP/1.1 4"}},
		"two lengths":        {"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", []string{"HTTP/1.1 400"}},
		"a field unknown":    {"POST /v1/guests HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 32\r\n\r\n{\"definition\":\"\",\"admin\":  true}\n", []string{"HTTP/1.1 422"}},
		"another name":       {"POST /v1/guests/..%2f..%2fetc/start HTTP/1.1\r\nHost: x\r\n\r\n", []string{"HTTP/1.1 4"}},
		"a NUL in a name":    {"POST /v1/guests/a%00b/start HTTP/1.1\r\nHost: x\r\n\r\n", []string{"HTTP/1.1 4"}},
		"a query unknown":    {"DELETE /v1/guests/free?disk=true HTTP/1.1\r\nHost: x\r\n\r\n", []string{"HTTP/1.1 4"}},
		"not a number":       {"POST /v1/guests/free/stop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n{\"timeout\":1e400}", []string{"HTTP/1.1 4"}},
		"time below nothing": {"POST /v1/guests/free/stop HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"timeout\":-1}", []string{"HTTP/1.1 4"}},
	} {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		go func() { _, _ = io.WriteString(conn, c.say) }()
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %v", what, err)
		}
		if !slices.ContainsFunc(c.want, func(w string) bool { return strings.HasPrefix(line, w) }) {
			t.Errorf("%s: %q, want %q", what, line, c.want)
		}
		_ = conn.Close()
	}
	if diff := cmp.Diff([]string(nil), f.runners.asked()); diff != "" {
		t.Errorf("something was done:\n%s", diff)
	}
	if got := f.definitions(t); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// FuzzRequest gives whatever bytes as the body of what makes and changes guests, as somebody
// who may not touch locked ones.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "/v1/guests", `{"definition":"name: a\nmemory: 1GiB\n"}`)
	f.Add("PUT", "/v1/guests/secret", `{"before":"name: secret\nmemory: 1GiB\nlocked: true\n","definition":"name: secret\nmemory: 1GiB\n"}`)
	f.Add("DELETE", "/v1/guests/secret?disks=true", "")
	f.Add("POST", "/v1/guests/free/stop", `{"timeout":1}`)
	x := newFixture(f)
	const secret = "name: secret\nmemory: 1GiB\nlocked: true\n"
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if strings.ContainsAny(method, " \r\n\x00") || method == "" || !strings.HasPrefix(path, "/") {
			t.Skip("no request")
		}
		// What the server's own reader does not take never comes as far as here.
		q, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + path + " HTTP/1.0\r\n\r\n")))
		if err != nil {
			t.Skip("no request")
		}
		q = q.WithContext(withCaller(t.Context(), Caller{Peer: Peer{UID: 1000}, Role: Operator}))
		q.Header.Set("Content-Type", "application/json")
		q.Body, q.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		a := x.answer(q)
		if a.Code == http.StatusInternalServerError {
			t.Errorf("%s %s %q: %s", method, path, body, a.Body)
		}
		if got := x.definitions(t)["secret"]; got != secret {
			t.Errorf("%s %s %q changes a locked guest: %q", method, path, body, got)
		}
	})
}

// FuzzStarts reads whatever may be in the file that is kept.
func FuzzStarts(f *testing.F) {
	f.Add([]byte(`{"boot_id":"one","asked":1,"guests":[{"name":"a","result":"ready"}]}`))
	f.Add([]byte(`{`))
	runners := newFakeRunners(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var kept keptStarts
		if err := parseKept(bytes.NewReader(text), maxStarts, &kept); err != nil {
			t.Skip("it is not taken")
		}
		d := &Daemon{Config: Config{Runners: runners}, starts: &starts{kept: kept}}
		b, err := json.Marshal(d.BootReport(t.Context()))
		if err != nil || !json.Valid(b) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
