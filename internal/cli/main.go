package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/internal/daemon"
	"github.com/project-independence/indy/internal/keeper"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// Exit codes, a contract with every script that calls indy.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitPartial     = 3
	exitRefused     = 4
	exitUnsupported = 5
	exitInterrupted = 130
)

const exitHelp = `Exit status:
  0    done
  1    failed, nothing left behind
  2    usage: a wrong word, flag or number of arguments
  3    partly done: what is left is kept as a lease, see indy leases
  4    refused as unsafe
  5    this host cannot, for want of hardware, a module or a program
  130  interrupted`

// Env is everything the command takes from outside.
type Env struct {
	Host     hostfs.FS      // the running host
	Broker   *broker.Broker // makes the calls on Host that may never return; nil when Host is another
	Names    fs.FS          // where the lists of names are, pci.ids and usb.ids
	LeaseDir string         // where leases are kept
	StateDir string         // where is kept what outlives a restart of the machine
	GuestDir string         // where the definitions of guests are kept; empty when nothing says
	Socket   string         // of the daemon that is asked about guests of others; empty is none
	RunDir   string         // where guests have their directories while they run; empty when nothing says
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Getenv   func(string) string
	Width    int  // columns of the terminal; 0 when Stdout is none
	Colour   bool // whether Stdout shows colours
	Version  string

	// What only the kernel of the running host can say: whether a group can be used by
	// a guest, whether a guest uses it, and whether anything uses a disk.
	Viable   func(iommu.GroupID) error
	InUse    func(iommu.GroupID) error
	DiskFree func(node string) error

	// ResetBus resets the bus on which the given functions are, which all are with vfio-pci.
	ResetBus func([]pci.Address) error

	Listen func() (Events, error) // to what the running host says of its devices

	// Detach starts indy with these arguments as a process that outlives this one, its
	// terminal and its session.
	Detach func(args ...string) error

	// DetachWith is Detach for a process that has open files of this one, from descriptor 3 on.
	DetachWith func(files []*os.File, args ...string) error

	// StartApart starts this program once more with files, from descriptor 3 on, as the user
	// and the group id, in a process without rights that ends with this one; nil is not at all.
	StartApart func(id uint32, files []*os.File, args ...string) (keeper.Runner, error)

	// DetachInScope is DetachWith for the process of a guest, which gets a scope of systemd of
	// its own where there is systemd. It says to warn why it has none.
	DetachInScope func(guest string, warn func(error), files []*os.File, args ...string) error

	// Jail returns the command that confines QEMU and then becomes it; see qemu.Options. Nil
	// is none.
	Jail func() []string

	// Attach runs a command of the shell on this terminal, with the name of a file.
	Attach func(command, file string) error
}

// OS returns the environment of this process.
func OS(version string) *Env {
	aside := &broker.Broker{Program: []string{asideCommand}}
	e := &Env{
		Host: hostfs.LiveWith(aside), Broker: aside, Names: hostfs.Live(), LeaseDir: "/run/indy/leases", StateDir: "/var/lib/indy",
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Version: version,
		Viable: viable(aside), InUse: inUse(aside), ResetBus: aside.ResetBus, DiskFree: hostfs.Live().Exclusive, Listen: listen,
		Detach:   func(args ...string) error { return broker.Detach(os.Getenv("PATH"), args...) },
		Jail:     func() []string { return jailStage(hostfs.Live()) },
		GuestDir: guestDir(os.Geteuid(), os.Getenv), RunDir: runDir(os.Geteuid(), os.Getenv), Attach: broker.Attach,
		StartApart: func(id uint32, files []*os.File, args ...string) (keeper.Runner, error) {
			return broker.StartApart(id, os.Getenv("PATH"), files, args...)
		},
		DetachWith: func(files []*os.File, args ...string) error {
			return broker.DetachWith(os.Getenv("PATH"), files, args...)
		},
	}
	e.DetachInScope = detachInScope
	if os.Geteuid() != 0 { // root has what the daemon has
		e.Socket = daemon.Socket
	}
	if fd := int(os.Stdout.Fd()); term.IsTerminal(fd) {
		if w, _, err := term.GetSize(fd); err == nil {
			e.Width = w
		}
		e.Colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	} else if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n > 0 {
		e.Width = n // for a pager
	}
	return e
}

// errInterrupted is the cause of the context that ends at SIGINT or SIGTERM.
var errInterrupted = errors.New("interrupted")

// A partlyRead is what could not be read, after the rest has been shown.
type partlyRead struct{ error }

func (e partlyRead) Unwrap() error { return e.error }

// cannot marks what this host, or this kind of device, is not able to do.
type cannot struct{ error }

func (e cannot) Unwrap() []error { return []error{e.error, errors.ErrUnsupported} }

// usageError marks what the user's words are to blame for.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// Main runs the command with the given arguments, without the program's name, and
// returns its exit code.
func Main(args []string, env *Env) int {
	out := &output{w: env.Stdout}
	mine := *env
	mine.Stdout, env = out, &mine
	root := newRootCommand(env, args)
	root.SetArgs(args)
	cmd, err := root.ExecuteC()
	if err == nil {
		err = out.failed()
	}
	if err == nil {
		return exitDone
	}
	code := exitCode(err)
	asJSON := slices.Contains(args, "--json") // also when the flags could not be read
	env.report(cmd, err, code, asJSON)
	return code
}

// interruptible returns a context that ends at a signal, for commands that have
// something to take back. What they take back is not interrupted by a second one. All
// other commands end as any program does.
func interruptible() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	// A reader of our output that has gone is an error to whoever writes, not our death
	// in the middle of things. To ignore the signal would be inherited by QEMU.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	go func() {
		select {
		case <-signals:
			cancel(errInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		signal.Stop(pipes)
		cancel(nil)
	}
}

func exitCode(err error) int {
	var usage usageError
	var find *laptop.FindError
	var partial *assign.PartialError
	var partly partlyRead
	var rom *qemu.ROMError
	var failed *guestFailure
	var late *unreadyError
	switch {
	case errors.As(err, &failed):
		return cmp.Or(failed.failure.Exit, exitFailed)
	case errors.As(err, &partial), errors.Is(err, assign.ErrStuck), errors.As(err, &late):
		return exitPartial
	case errors.As(err, &partly):
		return exitFailed
	case errors.Is(err, errInterrupted) || errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage) || errors.As(err, &find):
		return exitUsage
	case errors.Is(err, errors.ErrUnsupported):
		return exitUnsupported
	case errors.Is(err, assign.ErrRefused) || errors.As(err, &rom):
		return exitRefused
	}
	return exitFailed
}

// report writes an error to standard error, as a person or a program reads it.
func (e *Env) report(cmd *cobra.Command, err error, code int, asJSON bool) {
	var refused *assign.RefusedError
	findings := []laptop.Finding{}
	if errors.As(err, &refused) {
		findings = refused.Findings
	}
	var failed *guestFailure
	if errors.As(err, &failed) && failed.findings != nil {
		findings = failed.findings
	}
	if asJSON {
		type failure struct {
			Message  string           `json:"message"`
			Exit     int              `json:"exit"`
			Findings []laptop.Finding `json:"findings"`
		}
		_ = json.NewEncoder(e.Stderr).Encode(map[string]failure{"error": {err.Error(), code, findings}})
		return
	}
	if refused != nil {
		var asked []string
		for _, a := range refused.Devices {
			asked = append(asked, a.String())
		}
		e.errorf("refused to hand over %s", strings.Join(append(asked, refused.Others...), ", "))
		for _, f := range alike(findings) {
			_, where, _ := strings.Cut(f.Device, ":")
			if len(asked) == 0 || where == "" || slices.Contains(asked, where) || strings.Contains(f.Detail, where) ||
				slices.Contains(refused.Others, f.Device) {
				where = ""
			} else {
				where = " (" + printable(where) + ")" // what goes along, and is not wanted
			}
			fmt.Fprintf(e.Stderr, "  %s%s: %s\n", f.Code, where, printable(f.Detail))
			if f.Remedy != "" {
				fmt.Fprintf(e.Stderr, "    remedy: %s\n", f.Remedy)
			}
			if f.Code.Overridable() && f.Severity != laptop.Warning {
				fmt.Fprintf(e.Stderr, "    or, at your own risk: --allow %s\n", f.Code)
			}
		}
		return
	}
	var find *laptop.FindError
	var partly partlyRead
	switch {
	case errors.As(err, &find) && len(find.Candidates) > 0:
		e.errorf("%q may be any of these; name one by its address:", find.Word)
		for i, d := range find.Candidates {
			if i == 20 {
				fmt.Fprintf(e.Stderr, "  and %d more\n", len(find.Candidates)-i)
				break
			}
			fmt.Fprintf(e.Stderr, "  %s  %s  %s\n", d.Where(), d.Role(), printable(find.Name(d)))
		}
	case errors.As(err, &partly):
		e.errorf("not all could be read:\n%v", err)
	default:
		e.errorf("%v", err)
	}
	// Somebody's own file is theirs to open; the kernel's are root's.
	var path *fs.PathError
	if errors.Is(err, fs.ErrPermission) && errors.As(err, &path) &&
		(strings.HasPrefix(path.Path, "/sys/") || strings.HasPrefix(path.Path, "/dev/") || strings.HasPrefix(path.Path, "/run/")) {
		fmt.Fprintln(e.Stderr, "  remedy: run it as root")
	}
	if code == exitUsage {
		fmt.Fprintf(e.Stderr, "  see: %s --help\n", cmd.CommandPath())
	}
}

func (e *Env) errorf(format string, args ...any) {
	lines := strings.Split(fmt.Sprintf(format, args...), "\n")
	for i, line := range lines {
		lines[i] = printable(line) // errors quote what devices and saved machines say
	}
	const most = 25
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("and %d more", len(lines)-most))
	}
	fmt.Fprintf(e.Stderr, "indy: %s\n", strings.Join(lines, "\n  "))
}

// output remembers the first error of a stream that everything is written to.
type output struct {
	w   io.Writer
	mu  sync.Mutex
	err error
}

func (o *output) Write(p []byte) (int, error) {
	n, err := o.w.Write(p)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = err
	}
	return n, err
}

func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// newHelpCommand is cobra's own, but an unknown command is a usage error.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "what a command does",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return usageError{fmt.Errorf("no command %q", strings.Join(args, " "))}
			}
			return about.Help()
		},
	}
}

// A command is made when it is asked for.
type command struct {
	name string // the first word of its use
	make func(*Env) *cobra.Command
}

func commands() []command {
	return []command{
		{"devices", newDevicesCommand}, {"groups", newGroupsCommand}, {"why", newWhyCommand},
		{"watch", newWatchCommand}, {"capture", newCaptureCommand}, {"plan", newPlanCommand},
		{"assign", newAssignCommand}, {"release", newReleaseCommand}, {"reset", newResetCommand},
		{"leases", newLeasesCommand}, {"recover", newRecoverCommand}, {"confirm", newConfirmCommand},
		{watchdogCommand, newWatchdogCommand}, {asideCommand, newAsideCommand}, {jailCommand, newJailCommand}, {"early", newEarlyCommand}, {"run", newRunCommand},
		{"selftest", newSelftestCommand}, {"version", newVersionCommand}, {"diff", newDiffCommand},
		{"doctor", newDoctorCommand}, {"guest", newGuestCommand}, {"daemon", newDaemonCommand}, {"broker", newBrokerCommand},
	}
}

// newRootCommand makes the command for its arguments.
func newRootCommand(env *Env, args []string) *cobra.Command {
	root := &cobra.Command{
		Use:   "indy",
		Short: "one laptop, several operating systems, each with the hardware it needs",
		Long: `indy shows what is in this laptop, says what can be handed to a guest and why not,
hands devices over and takes them back, and runs guests with them.

A DEVICE is an address (0000:01:00.0, or 01:00.0 in domain 0000), a USB port path
(1-4.2), a role that only one device plays (webcam), or a part of a name.

` + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown command %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(flagError)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd.OutOrStdout(), cmd) })
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		writeUsage(cmd.OutOrStderr(), cmd)
		return nil
	})
	root.SetHelpCommand(newHelpCommand())
	all := commands()
	// A command that is named is made alone: to make all of them takes longer than many of
	// them run.
	if i := slices.IndexFunc(all, func(c command) bool { return len(args) > 0 && c.name == args[0] }); i >= 0 {
		root.AddCommand(all[i].make(env))
		root.CompletionOptions.DisableDefaultCmd = true
		return root
	}
	for _, c := range all {
		root.AddCommand(c.make(env))
	}
	root.InitDefaultCompletionCmd(args...)
	for _, c := range root.Commands() {
		if c.Name() != "completion" {
			continue
		}
		c.Short = "what makes a shell complete words of indy"
		c.Args = usage(cobra.NoArgs)
		c.RunE = func(*cobra.Command, []string) error {
			return usageError{errors.New("name a shell: bash, fish, powershell or zsh")}
		}
		for _, shell := range c.Commands() {
			shell.Args = usage(cobra.NoArgs)
		}
	}
	return root
}
