package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/jail"
)

// A Measure is one thing that keeps QEMU from what it does not need.
type Measure struct {
	Name    string // such as "root"; see [VM.Confinement]
	What    string // in words
	InForce bool
	Why     string // it is not in force; empty if it is
}

// The limits of a QEMU in a jail.
const (
	openFiles   = 4096 // each disk, device, interrupt and viewer is some
	oomScoreAdj = 200  // rather a guest than what the host itself needs
	maxTasks    = 256  // processors, disks and their threads
)

// A cell is what confines one QEMU by way of the jail stage.
type cell struct {
	command []string        // Options.Jail
	spec    jail.Spec       // all but the program
	network bool            // whether it stays in the host's network
	limits  limits          // of its control group
	done    <-chan struct{} // ends the waiting for the stage

	own    bool              // as whom it was started, in a user namespace
	kept   map[string]string // what could not be taken from it, and why
	report *os.File
	given  []*os.File // to the stage, and closed here
}

// The capabilities that the stage needs where root is not who starts it. It has them in
// its user namespace alone.
const (
	capSetPCap   = 8
	capSysChroot = 18
	capSysAdmin  = 21
)

// enter makes p the stage, which then becomes what p was.
func (j *cell) enter(p *process) error {
	j.own = os.Geteuid() != 0
	attr := p.cmd.SysProcAttr
	s := j.spec
	s.Program, s.Args, s.Env, s.Files = p.cmd.Path, p.cmd.Args[1:], p.cmd.Env, len(p.cmd.ExtraFiles)
	s.OpenFiles, s.OOMScoreAdj = openFiles, oomScoreAdj
	if attr.Credential != nil {
		s.UID, s.GID = attr.Credential.Uid, attr.Credential.Gid
	}
	if err := s.Validate(); err != nil {
		return fmt.Errorf("confine QEMU: %w", err)
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	spec, err := memoryFile("jail", data, int64(len(data)))
	if err != nil {
		return err
	}
	report, far, err := os.Pipe()
	if err != nil {
		spec.Close()
		return err
	}
	j.report, j.given = report, []*os.File{spec, far}
	p.cmd.ExtraFiles = append(slices.Clip(p.cmd.ExtraFiles), spec, far)
	// The stage is one thread's work, too little of it for a collection, and over sooner than
	// the runtime has found out how many processors it may have.
	p.cmd.Path, p.cmd.Env = j.command[0], []string{"GOMAXPROCS=1", "GOGC=off"}
	p.cmd.Args = append(slices.Clone(j.command), strconv.Itoa(3+s.Files))
	p.cmd.Args[0] = "indy" // as it is called, whatever file it is

	// The stage becomes the user and asks for the parent-death signal by itself.
	attr.Credential, attr.Pdeathsig = nil, 0
	attr.Cloneflags = unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	if !j.network {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	if j.own {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: os.Geteuid(), HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getegid(), HostID: os.Getegid(), Size: 1}}
		attr.AmbientCaps = []uintptr{capSetPCap, capSysChroot, capSysAdmin}
	}
	j.kept = make(map[string]string)
	p.group, err = makeCgroup(j.limits)
	if err != nil {
		j.kept[memoryLimit] = err.Error()
		return nil
	}
	attr.UseCgroupFD, attr.CgroupFD = true, int(p.group.dir.Fd())
	return nil
}

// close closes what the stage was given.
func (j *cell) close() {
	for _, f := range j.given {
		f.Close()
	}
	j.given = nil
}

// wait waits until p, which has been started, is what it is to become. With an error it
// has ended.
func (j *cell) wait(p *process) error {
	j.close() // the stage has its own
	defer j.report.Close()
	var said jail.Report
	ended := make(chan error, 1)
	go func() {
		var err error
		said, err = jail.ReadReport(j.report)
		ended <- err
	}()
	var err error
	select {
	case err = <-ended:
	case <-j.done:
		p.kill(nil)
		err = errors.Join(syscall.ECANCELED, <-ended)
	}
	if err != nil {
		p.kill(err)
		<-p.done
		if words := summary(p.stderr.String()); words != "" && !errors.As(err, new(*jail.Error)) {
			err = fmt.Errorf("%w: %s", err, words)
		}
		return fmt.Errorf("confine QEMU: %w", err)
	}
	for what, why := range said.Kept {
		j.kept[what] = why
	}
	return nil
}

// notMade returns the error of a stage that could not even be started.
func (j *cell) notMade(err error) error {
	j.report.Close()
	err = fmt.Errorf("confine QEMU: start the stage in namespaces of its own: %w", err)
	if errors.Is(err, syscall.EPERM) && !j.own {
		err = fmt.Errorf("%w; CAP_SYS_ADMIN is needed", err)
	}
	return err
}

// confined launches c. Where the user who starts it may not make the jail it is started
// without, as it was before there was one.
func confined(c command, log *slog.Logger) (*process, []Measure, error) {
	why := "it was not asked for"
	p, err := launch(c)
	if err != nil && c.jail != nil && c.jail.own && !errors.Is(err, syscall.ECANCELED) {
		why = err.Error()
		log.Warn("the guest runs without a jail", "err", err)
		c.jail = nil
		p, err = launch(c)
	}
	if err != nil {
		return nil, nil, err
	}
	list := measures(c.jail, c.cred, why)
	for _, m := range list {
		log.Debug("confinement", "measure", m.Name, "in force", m.InForce, "why", m.Why)
	}
	return p, list, nil
}

// The names of the measures.
const (
	measureUser      = "user"
	measureCaps      = "capabilities"
	measurePrivs     = "no-new-privileges"
	measureCalls     = "system-calls"
	measureEnv       = "environment"
	measureGroups    = jail.Groups
	measureRoot      = "root"
	measureNetwork   = "network"
	measureProcesses = "processes"
	measureFiles     = "files"
	memoryLimit      = "memory"
)

// Confinement returns what keeps QEMU from what it does not need, and for what is not
// in force why it is not. The names, in this order, are:
//
//	user               an identity of its own, not that of who starts it
//	capabilities       none, and no way to any
//	no-new-privileges  no program that it executes has more rights
//	system-calls       QEMU's own filter (-sandbox)
//	groups             no supplementary groups
//	root               a root with QEMU's own files and the guest's devices, read-only
//	processes          it sees no other process; IPC, host name and control groups likewise
//	network            no network but what it inherits open
//	files              no open files but those of the guest, no core dumps
//	memory             limits of memory and of processes by a control group
//
// Without [Options.Jail] those from root on are not in force.
func (v *VM) Confinement() []Measure { return slices.Clone(v.measures) }

// measures says what confines a QEMU that was started with j, which is nil without a
// jail, for the reason why.
func measures(j *cell, cred *syscall.Credential, why string) []Measure {
	list := []Measure{
		{Name: measureUser, What: "an identity of its own", InForce: cred != nil},
		{Name: measureCaps, What: "no capabilities, and no way to any", InForce: true},
		{Name: measurePrivs, What: "no program that it executes has more rights", InForce: true},
		{Name: measureCalls, What: "QEMU's own filter of system calls", InForce: true},
		{Name: measureGroups, What: "no supplementary groups", InForce: cred != nil},
	}
	if cred == nil {
		list[0].Why = "only root can run QEMU as another user"
		list[4].Why = "only root can give up supplementary groups"
	}
	for _, m := range [...][2]string{
		{measureRoot, "a root with its own files and the guest's devices alone, read-only"},
		{measureProcesses, "it sees no other process, and has IPC, host name and control groups of its own"},
		{measureNetwork, "no network but what it inherits open"},
		{measureFiles, "no open files but those of the guest, and no core dumps"},
		{memoryLimit, "limits of memory and processes"},
	} {
		measure := Measure{Name: m[0], What: m[1], InForce: j != nil}
		switch {
		case j == nil:
			measure.Why = why
		case m[0] == measureRoot && j.kept[jail.Under] != "":
			measure.Why = j.kept[jail.Under]
		case m[0] == measureNetwork && j.network:
			measure.Why = "QEMU carries the guest's network by itself; install passt, which does so outside of the jail"
		default:
			measure.Why = j.kept[m[0]]
		}
		measure.InForce = measure.Why == ""
		list = append(list, measure)
	}
	return list
}
