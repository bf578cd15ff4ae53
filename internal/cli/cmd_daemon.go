package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/privsep"
	"github.com/project-independence/indy/internal/runner"
)

func newDaemonCommand(env *Env) *cobra.Command {
	var socket, root string
	var images []string
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "answer for root's guests on a socket, for those who may use or operate them",
		Long: `Answer on a unix socket for the guests of this machine: to root, and to members of the
groups indy-users, indy-operators and indy-admins, of which each may do more than the
one before. Guests run in processes of their own; they go on when the daemon ends, and
the next one finds them.

Somebody who is not root runs it with --broker: what takes root it asks indy broker to do. As
root it does that itself, and a guest of somebody who is no administrator has no files of the
host but images in its own folder and below --images, which root alone may be able to change.

It is meant to be started by systemd, and takes the socket from it if it has one. The
guests that start by themselves are started by indy daemon start-guests, once each boot.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			return serve(ctx, env, socket, root, images)
		},
	}
	cmd.PersistentFlags().StringVar(&socket, "socket", daemon.Socket, "the `SOCKET` on which it answers")
	cmd.Flags().StringVar(&root, "broker", "", "the `SOCKET` of indy broker; without it, this process is root")
	cmd.Flags().StringArrayVar(&images, "images", []string{daemon.Images}, "a `FOLDER` of images that guests of others than administrators may have; may be given several times")
	cmd.AddCommand(newStartGuestsCommand(env, &socket), newStopGuestsCommand(env, &socket), newDaemonReportCommand(env, &socket), newDaemonPowerCommand(env, &socket))
	return cmd
}

// serve answers until ctx ends. With the socket of a broker, that does what takes root.
func serve(ctx context.Context, env *Env, socket, broker string, images []string) error {
	if os.Geteuid() != 0 && broker == "" {
		return cannot{errors.New("the daemon answers for root's guests: it is run by root, or asks indy broker, by --broker " + privsep.Socket)}
	}
	if err := validImages(images); err != nil {
		return err
	}
	if uid := os.Geteuid(); uid != 0 && env.GuestDir == guestDir(uid, env.Getenv) { // its own guests are not meant
		all := *env
		all.GuestDir, all.RunDir = guestDir(0, env.Getenv), runDir(0, env.Getenv)
		env = &all
	}
	groups, err := daemon.ReadGroups(env.Host)
	if err != nil {
		return err
	}
	boot, err := bootID(env.Host)
	if err != nil {
		return err
	}
	l, err := listenAt(socket)
	if err != nil {
		return err
	}
	defer l.Close()
	told := env.daemonLog()
	kept := filepath.Join(filepath.Dir(env.RunDir), "daemon")
	if err := os.MkdirAll(kept, 0o700); err != nil {
		return err
	}
	c := daemon.Config{Version: env.Version, Groups: groups, BootID: boot, Started: sinceBoot(), Logger: told, State: filepath.Join(kept, "starts.json")}
	root := env.asksRoot(&c, broker)
	if root == nil {
		env.isRoot(&c, images)
	}
	d := daemon.New(c)
	d.Resume(ctx)
	go env.keepPower(ctx, d, kept, root)
	notify(told, sd.SdNotifyReady)
	go keepTelling(ctx, told, l.Addr().String())
	told.Info("answering", "socket", l.Addr().String())
	if err := d.Serve(ctx, l); err != nil {
		return err
	}
	notify(told, sd.SdNotifyStopping)
	told.Info("ended; guests go on")
	return nil
}

// isRoot has a daemon do by itself what takes root.
func (e *Env) isRoot(c *daemon.Config, images []string) {
	told := c.Logger
	c.Definitions, c.Host = e.rootsGuests(images), daemonHost{e}
	c.Runners = daemon.Directories{Root: e.RunDir, Host: e.Host, Launch: func(name string, key []byte) (*runner.Launched, error) { return e.launchAlone(name, key, told) }}
}

// asksRoot has a daemon ask the broker at a socket for what takes root; without one it is nil.
func (e *Env) asksRoot(c *daemon.Config, broker string) *privsep.Client {
	if broker == "" {
		return nil
	}
	root := &privsep.Client{Socket: broker, Guests: e.GuestDir}
	c.Definitions, c.Host = root, root
	c.Runners = daemon.Directories{Root: e.RunDir, Host: e.Host, By: root, Launch: func(name string, key []byte) (*runner.Launched, error) {
		said, err := root.Start(name, key)
		if err != nil {
			return nil, err
		}
		return runner.Listen(runner.Dir{Name: name, Path: filepath.Join(e.RunDir, name), By: root}, e.Host, said), nil
	}}
	return root
}

// rootsGuests are the definitions of this process, with images for guests of others than administrators.
func (e *Env) rootsGuests(images []string) *daemon.Stored {
	return &daemon.Stored{Store: store.Store{Dir: e.GuestDir}, Images: images, MakeDisk: func(ctx context.Context, file string, size int64, key []byte) error {
		return qemu.MakeDisk(ctx, file, size, secretKey(key))
	}}
}

// validImages returns an error if any is no folder that --images takes.
func validImages(images []string) error {
	for _, dir := range images {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) == "/" {
			return usageError{fmt.Errorf("--images %q: expected a folder by its whole name", dir)}
		}
	}
	return nil
}

// sinceBoot is the time since the kernel started, asleep or not, in seconds.
func sinceBoot() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano()).Seconds()
}

// daemonLog is where the daemon tells what it does: lines for people on a terminal, else JSON.
func (e *Env) daemonLog() *slog.Logger {
	if f, ok := e.Stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(e.Stderr, nil))
	}
	return slog.New(slog.NewJSONHandler(e.Stderr, &slog.HandlerOptions{ReplaceAttr: plainAttr}))
}

// plainAttr makes text of others printable: JSON leaves in what turns the direction of a line,
// and a reader that decodes it shows the rest.
func plainAttr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(printable(v))
	case error:
		a.Value = slog.StringValue(printable(v.Error()))
	}
	return a
}

func notify(told *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		told.Warn("systemd is not told", "state", state, "err", err)
	}
}

// keepTelling tells systemd that the daemon answers, as often as it wants to be told: by having
// asked.
func keepTelling(ctx context.Context, told *slog.Logger, socket string) {
	every, err := sd.SdWatchdogEnabled(false)
	if err != nil || every <= 0 {
		return
	}
	tick := time.NewTicker(every / 3)
	defer tick.Stop()
	for {
		if err := answers(ctx, socket); err != nil {
			told.Error("the daemon does not answer itself", "err", err)
		} else {
			notify(told, sd.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func answers(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := daemon.Dial(socket)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Version(ctx)
	return err
}

// listenAt returns the socket that systemd has handed over, or one that is made. What a
// daemon left that was killed is replaced; one that answers is not.
func listenAt(socket string) (*net.UnixListener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if u, ok := l.(*net.UnixListener); ok {
			return u, nil
		}
	}
	if c, err := daemon.Dial(socket); err == nil {
		c.Close()
		return nil, fmt.Errorf("a daemon answers on %s already", socket)
	} else if !errors.Is(err, daemon.ErrNone) {
		return nil, err
	}
	if err := makeRoom(socket); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	// Everybody may connect, and is asked who they are.
	if err := os.Chmod(socket, 0o666); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// makeRoom makes the directory of a socket, and takes away what is left of one that nobody has.
func makeRoom(socket string) error {
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	if st, err := os.Lstat(socket); err == nil && st.Mode()&fs.ModeSocket != 0 {
		return os.Remove(socket)
	}
	return nil
}

// launchAlone starts a guest's runner, which has no seat: nobody sits where a daemon is.
func (e *Env) launchAlone(name string, key []byte, told *slog.Logger) (*runner.Launched, error) {
	if e.DetachInScope == nil {
		return nil, cannot{errors.New("no process can be started from here")}
	}
	dir, err := e.guestRun(name)
	if err != nil {
		return nil, err
	}
	return runner.Launch(dir, e.Host, runnerRequest{
		Guests: e.GuestDir, Leases: e.LeaseDir, State: e.StateDir, Run: e.RunDir, Accelerator: "auto", Key: key,
	}, func(files []*os.File) error {
		return e.DetachInScope(name, func(err error) { told.Warn("a guest is counted to this process", "err", err) }, files, "guest", runnerCommand, name)
	})
}

// daemonHost answers with what commands write.
type daemonHost struct{ env *Env }

// Devices is indy devices.
func (h daemonHost) Devices(context.Context) (json.RawMessage, error) { return h.document("devices") }

// Leases is indy leases.
func (h daemonHost) Leases(context.Context) (json.RawMessage, error) { return h.document("leases") }

// Recover is indy recover. It is not given up when who asks goes away.
func (h daemonHost) Recover(context.Context) (json.RawMessage, error) { return h.document("recover") }

func (h daemonHost) document(command string) (json.RawMessage, error) {
	var doc, said strings.Builder
	mine := *h.env
	mine.Stdin, mine.Stdout, mine.Stderr, mine.Width, mine.Colour = strings.NewReader(""), &doc, &said, 0, false
	if code := Main([]string{command, "--json"}, &mine); code != exitDone {
		var e struct{ Error struct{ Message string } }
		if json.Unmarshal([]byte(said.String()), &e) != nil {
			e.Error.Message = said.String()
		}
		return json.RawMessage(doc.String()), fmt.Errorf("indy %s: exit status %d: %s", command, code, e.Error.Message)
	}
	return json.RawMessage(doc.String()), nil
}

// daemonAt returns a client of the daemon that a command is about.
func daemonAt(socket string) (*daemon.Client, error) {
	c, err := daemon.Dial(socket)
	if errors.Is(err, daemon.ErrNone) {
		err = fmt.Errorf("no daemon answers on %s; start it with: systemctl start indy-daemon: %w", socket, err)
	}
	return c, err
}

func newStartGuestsCommand(env *Env, socket *string) *cobra.Command {
	return &cobra.Command{
		Use:   "start-guests",
		Short: "have the daemon start the guests that start by themselves",
		Long: `Have the daemon start the guests that start by themselves, as their definitions say: by
priority, those that others need first. It does not wait for them, and does nothing when
they were started since the machine was; indy daemon boot-report says what became of each.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			c, err := daemonAt(*socket)
			if err != nil {
				return err
			}
			defer c.Close()
			begun, err := c.Autostart(context.Background())
			if err == nil && !begun {
				fmt.Fprintln(env.Stdout, "guests were started already")
			}
			return err
		},
	}
}

func newStopGuestsCommand(env *Env, socket *string) *cobra.Command {
	var within time.Duration
	cmd := &cobra.Command{
		Use:   "stop-guests",
		Short: "have the daemon stop all guests, those that others need last",
		Long: `Have the daemon stop all guests by their power buttons: each when those that need it have
ended, and by force when it takes longer than --timeout. It returns when all have ended
and their devices are given back.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if within <= 0 {
				return usageError{fmt.Errorf("--timeout %v: expected a time such as 90s", within)}
			}
			ctx, stop := interruptible()
			defer stop()
			c, err := daemonAt(*socket)
			if err != nil {
				return err
			}
			defer c.Close()
			all, err := c.Shutdown(ctx, within)
			for _, s := range all {
				word := "stopped"
				if s.Forced {
					word = "stopped by force"
				}
				fmt.Fprintf(env.Stdout, "%s %s after %.1f s\n", word, s.Name, s.Took)
				if s.Error != "" {
					err = errors.Join(err, fmt.Errorf("guest %s: %s", s.Name, s.Error))
				}
			}
			return orInterrupt(ctx, err)
		},
	}
	cmd.Flags().DurationVar(&within, "timeout", 90*time.Second, "how long each guest may take to shut itself down")
	return cmd
}

func newDaemonReportCommand(env *Env, socket *string) *cobra.Command {
	return newAskCommand(env, socket, (*daemon.Client).BootReport, writeBootReport, &cobra.Command{
		Use:   "boot-report",
		Short: "what became of the guests that start by themselves, and how long each part took",
		Long: `Show when the daemon was started and when each guest passed each point of its start, in
seconds since the kernel of this host started, and why one did not start.

` + exitHelp,
	})
}

// newAskCommand makes cmd ask the daemon for something and write that.
func newAskCommand[R any](env *Env, socket *string, ask func(*daemon.Client, context.Context) (R, error), write func(*Env, R), cmd *cobra.Command) *cobra.Command {
	var flags reading
	cmd.Args = usage(cobra.NoArgs)
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := daemonAt(*socket)
		if err != nil {
			return err
		}
		defer c.Close()
		r, err := ask(c, context.Background())
		if err != nil {
			return err
		}
		if flags.json {
			return writeJSON(env, r)
		}
		write(env, r)
		return nil
	}
	flags.addJSON(cmd)
	return cmd
}

func writeBootReport(env *Env, b daemon.BootReport) {
	var t table
	t.add("AFTER", "TOOK", "")
	t.add(fmt.Sprintf("%.3f s", b.Daemon), "", "the daemon was started")
	if b.Asked > 0 {
		t.add(fmt.Sprintf("%.3f s", b.Asked), fmt.Sprintf("%.3f s", b.Asked-b.Daemon), "it was to start guests")
	}
	for _, g := range b.Guests {
		for _, p := range g.Phases {
			t.add(fmt.Sprintf("%.3f s", p.At), fmt.Sprintf("%.3f s", p.Took), g.Name+": "+phaseWord(p.Name))
		}
	}
	t.write(env, env.Stdout)
	for _, g := range b.Guests {
		line := fmt.Sprintf("%s: %s", g.Name, g.Result)
		if g.Reason != "" {
			line += ": " + g.Reason
		}
		fmt.Fprintln(env.Stdout, printable(line))
	}
	for _, e := range b.Errors {
		fmt.Fprintln(env.Stdout, printable(e))
	}
	if !b.Done && b.Asked > 0 {
		fmt.Fprintln(env.Stdout, "guests are still being started")
	}
}
