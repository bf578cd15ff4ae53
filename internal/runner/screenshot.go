package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// maxPicture is how large a picture of a screen may be, in bytes of PNG.
const maxPicture = 64 << 20

// screenshotSet is the descriptor set by which QEMU gets the file of a picture; those of
// guest/qemu are far below.
const screenshotSet = 1 << 30

// screenshot answers with the picture on the guest's screen.
func (s *server) screenshot(w http.ResponseWriter, q *http.Request) {
	ctx, cancel := context.WithTimeout(q.Context(), commandTimeout)
	defer cancel()
	picture, err := s.r.picture(ctx)
	if err != nil {
		refuse(w, err)
		return
	}
	defer picture.Close()
	w.Header().Set("Content-Type", "image/png")
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
	_, _ = io.Copy(w, io.LimitReader(picture, maxPicture))
}

// picture has QEMU write the picture to a file that nobody else can open: it gets a
// descriptor that it can write to, and no name.
func (r *runner) picture(ctx context.Context) (*os.File, error) {
	f, err := os.CreateTemp(r.Dir.Path, "screenshot")
	if err != nil {
		return nil, err
	}
	keep := false
	defer func() {
		if !keep {
			_ = f.Close()
		}
	}()
	writer, err := os.OpenFile(f.Name(), os.O_WRONLY, 0)
	if e := os.Remove(f.Name()); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	defer writer.Close()
	r.picturing.Lock()
	defer r.picturing.Unlock()
	if err := r.sendFile(ctx, writer, screenshotSet); err != nil {
		return nil, err
	}
	args := map[string]any{"filename": fmt.Sprintf("/dev/fdset/%d", screenshotSet), "format": "png"}
	err = r.command(ctx, "screendump", args, nil)
	gone := r.command(ctx, "remove-fd", map[string]any{"fdset-id": screenshotSet}, nil)
	if err := errors.Join(err, gone); err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || info.Size() == 0 || info.Size() > maxPicture {
		return nil, errors.Join(err, errors.New("QEMU made no picture of it"))
	}
	keep = true
	return f, nil
}

// sendFile gives QEMU a descriptor as one of a set.
func (r *runner) sendFile(ctx context.Context, f *os.File, set int) error {
	conn, err := r.answering(ctx)
	if err != nil {
		return err
	}
	return conn.SendFile(ctx, f, set)
}
