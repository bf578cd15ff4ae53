package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/coreos/go-systemd/v22/activation"
	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/internal/privsep"
	"github.com/project-independence/indy/internal/runner"
)

func newBrokerCommand(env *Env) *cobra.Command {
	var socket, asks, by string
	var images []string
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "do what takes root for a daemon that is not",
		Long: `Do, as root, a few fixed things for indy daemon --broker, which another user runs: start the
processes of guests, connect to them, keep their definitions, and open what else is root's. Nobody
but that user and root is answered.

For whom a definition is changed is not believed of the daemon: it hands over the connection
that the request came by, and the kernel says who is at its other end.

It is meant to be started by systemd, and takes the socket from it if it has one. Guests go on
when it ends, and so does the daemon with the next one.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := interruptible()
			defer stop()
			return env.serveBroker(ctx, socket, asks, by, images)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", privsep.Socket, "the `SOCKET` on which it answers")
	cmd.Flags().StringVar(&asks, "user", "indy-daemon", "the `USER` who runs the daemon, by name or number")
	cmd.Flags().StringVar(&by, "daemon", daemon.Socket, "the `SOCKET` of the daemon, by its whole name, to which those are connected on whose behalf it asks")
	cmd.Flags().StringArrayVar(&images, "images", []string{daemon.Images}, "a `FOLDER` of images that guests of others than administrators may have; may be given several times")
	return cmd
}

// serveBroker answers until ctx ends.
func (e *Env) serveBroker(ctx context.Context, socket, asks, by string, images []string) error {
	if os.Geteuid() != 0 {
		return cannot{errors.New("the broker does what takes root, and is run by root")}
	}
	if !filepath.IsAbs(by) {
		return usageError{fmt.Errorf("--daemon %q: expected a socket by its whole name", by)}
	}
	if err := validImages(images); err != nil {
		return err
	}
	uid, err := userID(asks)
	if err != nil {
		return usageError{err}
	}
	groups, err := daemon.ReadGroups(e.Host)
	if err != nil {
		return err
	}
	l, err := listenBroker(socket, int(uid))
	if err != nil {
		return err
	}
	defer l.Close()
	told := e.daemonLog()
	s := &privsep.Server{
		UID: uid, Daemon: by, Groups: groups, Definitions: e.rootsGuests(images), Guest: e.guestRun, Logger: told,
		Launch:   func(name string, key []byte) (*runner.Launched, error) { return e.launchAlone(name, key, told) },
		Document: func(command string) (json.RawMessage, error) { return daemonHost{e}.document(command) },
		Inhibit: func(ctx context.Context, lid bool) (*os.File, error) {
			return power.Inhibit(ctx, e.Getenv("DBUS_SYSTEM_BUS_ADDRESS"), lid)
		},
		OpenLid: func(name string) (*os.File, error) {
			live, ok := e.Host.(*hostfs.LiveHost)
			if !ok || !slices.Contains(power.LidInputs(e.Host), name) { // others are keyboards
				return nil, fmt.Errorf("%.80q is no switch of a lid", name)
			}
			return openInput(live, name)
		},
	}
	notify(told, sd.SdNotifyReady)
	told.Info("answering", "socket", l.Addr().String(), "uid", uid)
	if err := s.Serve(ctx, l); err != nil {
		return err
	}
	notify(told, sd.SdNotifyStopping)
	told.Info("ended; guests go on")
	return nil
}

// userID returns the number of a user, who may be named by it.
func userID(name string) (uint32, error) {
	if id, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(id), nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return 0, fmt.Errorf("--user %q: %w; make the account by systemd-sysusers, or name another one", name, err)
	}
	id, err := strconv.ParseUint(u.Uid, 10, 32)
	return uint32(id), err
}

// listenBroker returns the socket that systemd has handed over, or one that is made, for one user.
func listenBroker(socket string, uid int) (*net.UnixListener, error) {
	all, err := activation.Listeners()
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if u, ok := l.(*net.UnixListener); ok {
			return u, nil
		}
	}
	if c, err := net.Dial("unixpacket", socket); err == nil {
		c.Close()
		return nil, fmt.Errorf("a broker answers on %s already", socket)
	}
	if err := makeRoom(socket); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: socket, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.Chmod(socket, 0o600), os.Chown(socket, uid, -1)); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}
