package keeper

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// A teller is a handler of log records that are told to the runner, a line each.
type teller struct {
	send func(slog.Level, string)
	with string
}

// Enabled reports true: what is kept, the runner says.
func (t *teller) Enabled(context.Context, slog.Level) bool { return true }

// Handle tells a record.
func (t *teller) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message + t.with)
	r.Attrs(func(a slog.Attr) bool {
		fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		return true
	})
	t.send(r.Level, b.String())
	return nil
}

// WithAttrs returns a handler that has these, too.
func (t *teller) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := t.with
	for _, a := range attrs {
		with += fmt.Sprintf(" %s=%v", a.Key, a.Value)
	}
	return &teller{t.send, with}
}

// WithGroup returns t: there are no groups in what is told.
func (t *teller) WithGroup(string) slog.Handler { return t }
