package assign

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/project-independence/indy/pci"
)

// A tree that can be written to, by a test.
type tree struct{ fstest.MapFS }

func (tree) WriteFile(name string, _ []byte) error {
	return &fs.PathError{Op: "write", Path: name, Err: fs.ErrPermission}
}

// A node that udev makes late is waited for, by the kernel's events and without them;
// one that does not come, or is something else, is said with what to do.
func TestFault22LateNode(t *testing.T) {
	id := pci.NewGroupID(12)
	t.Run("by event", func(t *testing.T) {
		host := tree{fstest.MapFS{}}
		pauses := 0
		h := &Host{FS: host, Pause: func(context.Context, time.Duration) {
			if pauses++; pauses == 3 {
				host.MapFS["dev/vfio/12"] = &fstest.MapFile{Mode: fs.ModeDevice | fs.ModeCharDevice | 0o600}
			}
		}}
		if err := h.awaitNode(t.Context(), id); err != nil || pauses != 3 {
			t.Errorf("%d pauses, %v", pauses, err)
		}
	})
	t.Run("polled", func(t *testing.T) {
		dir := &late{tree: tree{fstest.MapFS{}}, after: time.Now().Add(30 * time.Millisecond)}
		began := time.Now()
		if err := (&Host{FS: dir}).awaitNode(t.Context(), id); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 30*time.Millisecond || took > 3*time.Second {
			t.Errorf("it took %s", took)
		}
	})
	// The time of these is up at once.
	for _, test := range []struct {
		name string
		fsys fstest.MapFS
		want []string
	}{
		{"udev", fstest.MapFS{"sys/class/vfio/12/dev": {Data: []byte("244:3\n")}},
			[]string{"wait for /dev/vfio/12", "udevadm trigger", "mknod /dev/vfio/12 c 244 3", "devtmpfs"}},
		{"module", fstest.MapFS{}, []string{"module vfio"}},
		{"other", fstest.MapFS{"dev/vfio/12/x": {}}, []string{"not the node", "rm -r /dev/vfio/12"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithDeadline(t.Context(), time.Unix(1, 0))
			defer cancel()
			err := (&Host{FS: tree{test.fsys}}).awaitNode(ctx, id)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			for _, part := range test.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		why := errors.New("interrupted")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		if err := (&Host{FS: tree{fstest.MapFS{}}}).awaitNode(ctx, id); !errors.Is(err, why) {
			t.Error(err)
		}
	})
}

// late has the node from a moment on.
type late struct {
	tree
	after time.Time
}

func (l *late) Lstat(name string) (fs.FileInfo, error) {
	if time.Now().After(l.after) {
		l.MapFS["dev/vfio/12"] = &fstest.MapFile{Mode: fs.ModeDevice | fs.ModeCharDevice}
	}
	return l.MapFS.Lstat(name)
}
