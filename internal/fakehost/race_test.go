package fakehost_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/fakehost"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// A race is what one process of [TestRace] is told on its standard input.
type race struct {
	ID       uint64
	Attempts int
	Plans    []assign.Plan // of each group
}

// A finish is what it tells on its standard output.
type finish struct {
	Assigned, Released, Lost int
	Slowest                  time.Duration // of all attempts
	Wrong                    []string
}

// racer is one process of [TestRace]: it takes and gives back random devices.
func racer() error {
	var r race
	if err := json.NewDecoder(os.Stdin).Decode(&r); err != nil {
		return err
	}
	if _, err := os.Stdout.WriteString("ready\n"); err != nil {
		return err
	}
	for _, err := os.Stat("/run/start"); err != nil; _, err = os.Stat("/run/start") {
		time.Sleep(5 * time.Millisecond) // until the others are ready, too
	}
	f := finish{}
	store := &assign.Store{Dir: "/run/indy/leases", StateDir: "/var/lib/indy"}
	host := &assign.Host{FS: hostfs.Live(), Viable: vfio.Viable}
	random := rand.New(rand.NewPCG(20, r.ID))
	for range r.Attempts {
		p := r.Plans[random.IntN(len(r.Plans))]
		a := p.Devices[random.IntN(len(p.Devices))]
		began := time.Now()
		var err error
		if random.IntN(releaseOneIn) == 0 {
			if _, err = store.Release(context.Background(), host, a); err == nil {
				f.Released++
			}
		} else {
			p.Guest = fmt.Sprintf("racer-%d", r.ID)
			_, err = store.Assign(context.Background(), host, assign.Taking{
				Plan:  func() (*assign.Plan, error) { return &p, nil },
				Guest: p.Guest, Devices: p.Devices, Claims: []assign.Claim{assign.GroupClaim(p.Groups[0])},
			})
			if err == nil {
				f.Assigned++
			}
		}
		f.Slowest = max(f.Slowest, time.Since(began))
		if err != nil {
			f.Lost++
			if !rightlyLost(err) && len(f.Wrong) < 5 {
				f.Wrong = append(f.Wrong, err.Error())
			}
		}
	}
	return json.NewEncoder(os.Stdout).Encode(f)
}

// releaseOneIn is of how many attempts one gives back: the others find most groups taken.
const releaseOneIn = 20

// rightlyLost says that an attempt failed because somebody else has the device, whom the
// error names, or because nobody has it to be given back.
func rightlyLost(err error) bool {
	var held *assign.HeldError
	if errors.As(err, &held) {
		return holder().MatchString(err.Error()) && held.Lease.PID > 0
	}
	return errors.Is(err, assign.ErrNotHeld)
}

var holder = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`held by guest "racer-\d+" since .*process \d+`) })

// pairs is a machine with groups of two functions of different drivers.
func pairs(t *testing.T, groups int) *sim.Kernel {
	t.Helper()
	m := new(hostfs.Tree)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(m.Put("sys/class/iommu/dmar0/intel-iommu/version", []byte("1:0\n")))
	for g := range groups {
		for f, driver := range []string{"e1000e", "snd_hda_intel"} {
			addr := fmt.Sprintf("0000:%02x:00.%d", g+1, f)
			dir := "sys/devices/pci0000:00/" + addr
			for name, value := range map[string]string{
				"vendor": "0x8086", "device": fmt.Sprintf("0x10d%d", f), "class": []string{"0x020000", "0x040300"}[f],
				"driver_override": "(null)", "power/control": "on", "reset_method": "flr",
				"uevent": fmt.Sprintf("DRIVER=%s\nPCI_CLASS=%s\nPCI_ID=8086:10D%d\nPCI_SUBSYS_ID=8086:0000\nPCI_SLOT_NAME=%s",
					driver, []string{"20000", "40300"}[f], f, addr),
			} {
				must(m.Put(dir+"/"+name, []byte(value+"\n")))
			}
			must(m.Symlink("../../../devices/pci0000:00/"+addr, "sys/bus/pci/devices/"+addr))
			must(m.Symlink("../../../bus/pci", dir+"/subsystem"))
			must(m.Symlink("../../../bus/pci/drivers/"+driver, dir+"/driver"))
			must(m.Symlink("../../../../devices/pci0000:00/"+addr, "sys/bus/pci/drivers/"+driver+"/"+addr))
			group := fmt.Sprintf("sys/kernel/iommu_groups/%d", g+1)
			must(m.Put(group+"/type", []byte("DMA\n")))
			must(m.Symlink("../../../../devices/pci0000:00/"+addr, group+"/devices/"+addr))
			must(m.Symlink("../../../kernel/iommu_groups/"+fmt.Sprint(g+1), dir+"/iommu_group"))
		}
	}
	k, err := sim.New(m, sim.Options{VFIO: true})
	must(err)
	return k
}

// An onlooker sees each write to the kernel and who makes it, and knows nothing of leases.
type onlooker struct {
	kernel *sim.Kernel

	mu      sync.Mutex
	process map[int]int // by thread
	group   map[string]string
	members map[string][]string
	at      map[string]int // process in the middle of a group, 0 for none
	taken   map[string]int // how often a group came to vfio-pci
	given   map[string]int // and back
	was     map[string]string
	wrong   []string
}

func (o *onlooker) hook(op fakehost.Op) fakehost.Fault {
	if op.Kind != "write" {
		return fakehost.Fault{}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	g := o.group[o.device(op)]
	if g == "" {
		o.errorf("a write that is about no device: %s %q", op, op.Data)
		return fakehost.Fault{}
	}
	p := o.of(op.TID)
	if o.at[g] != 0 && o.at[g] != p {
		o.errorf("process %d writes to %s while process %d is in the middle of group %s", p, op, o.at[g], g)
	}
	o.at[g] = p
	return fakehost.Fault{After: func() { o.done(g) }}
}

// device is the function a write is about: the one in the path, or the one it names.
func (o *onlooker) device(op fakehost.Op) string {
	for part := range strings.SplitSeq(op.Name, "/") {
		if o.group[part] != "" {
			return part
		}
	}
	return strings.TrimSpace(string(op.Data))
}

// of is the process of a thread.
func (o *onlooker) of(tid int) int {
	if p := o.process[tid]; p != 0 {
		return p
	}
	p := process(tid)
	o.process[tid] = p
	return p
}

// done looks at a group after a write: it is at home, with vfio-pci, or in between.
func (o *onlooker) done(g string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	is := o.look(g)
	if is == "" {
		return
	}
	o.at[g] = 0
	switch {
	case is == o.was[g]:
	case is == "vfio":
		o.taken[g]++
	default:
		o.given[g]++
	}
	o.was[g] = is
}

// look is home, vfio, or empty for a group that is split.
func (o *onlooker) look(g string) string {
	home, vfio := 0, 0
	for _, a := range o.members[g] {
		driver, _ := hostfs.ReadLinkBase(o.kernel, "sys/bus/pci/devices/"+a+"/driver")
		override, _ := hostfs.ReadString(o.kernel, "sys/bus/pci/devices/"+a+"/driver_override")
		switch {
		case driver == "vfio-pci" && override == "vfio-pci":
			vfio++
		case driver != "" && driver != "vfio-pci" && override == "(null)":
			home++
		}
	}
	switch len(o.members[g]) {
	case home:
		return "home"
	case vfio:
		return "vfio"
	}
	return ""
}

func (o *onlooker) errorf(format string, args ...any) {
	if len(o.wrong) < 20 {
		o.wrong = append(o.wrong, fmt.Sprintf(format, args...))
	}
}

// TestRace has 64 processes take and give back 16 devices in 8 groups, more than 50,000
// times. Somebody who sees every write never sees two of them at one group, nor a group that
// is split when nobody is at it; who loses is told who has it; nobody waits long.
func TestRace(t *testing.T) {
	const groups, processes, attempts = 8, 64, 50_000/64 + 1
	k := pairs(t, groups)
	h := fakehost.New(t, k, fakehost.Options{Plain: true})
	o := &onlooker{
		kernel: k, process: map[int]int{}, group: map[string]string{}, members: map[string][]string{},
		at: map[string]int{}, taken: map[string]int{}, given: map[string]int{}, was: map[string]string{},
	}
	r := race{Attempts: attempts, Plans: plans(t, k)}
	if len(r.Plans) != groups {
		t.Fatalf("%d groups", len(r.Plans))
	}
	for _, p := range r.Plans {
		g := p.Groups[0].String()
		o.was[g] = "home"
		for _, a := range p.Devices {
			o.group[a.String()] = g
			o.members[g] = append(o.members[g], a.String())
		}
	}
	h.SetHook(o.hook)

	// The race detector looks at one process, and would only slow these down.
	program := hosttest.BuildTest(t, t.TempDir(), "./internal/fakehost")
	stall, stop := stalls()
	began := time.Now()
	ends := make([]finish, processes)
	var started, ended sync.WaitGroup
	started.Add(processes)
	for i := range processes {
		r.ID = uint64(i)
		input, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		cmd := h.Helper(program, "racer", "GOMAXPROCS=1")
		cmd.Stdin = bytes.NewReader(input)
		var said bytes.Buffer
		cmd.Stderr = &said
		out := &firstLine{first: started.Done}
		cmd.Stdout = out
		if err := h.Start(cmd); err != nil {
			t.Fatal(err)
		}
		ended.Go(func() {
			err := cmd.Wait()
			out.once.Do(out.first)
			if err == nil {
				err = json.Unmarshal(bytes.TrimPrefix(out.text.Bytes(), []byte("ready\n")), &ends[i])
			}
			if err != nil {
				t.Errorf("process %d: %v: %s", i, err, &said)
			}
		})
	}
	started.Wait()
	ready := time.Since(began)
	if err := os.WriteFile(h.StateDir()+"/run/start", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	ended.Wait()
	stop()
	took := time.Since(began) - ready

	var sum finish
	for i, f := range ends {
		sum.Assigned += f.Assigned
		sum.Released += f.Released
		sum.Lost += f.Lost
		sum.Slowest = max(sum.Slowest, f.Slowest)
		for _, w := range f.Wrong {
			t.Errorf("process %d: %s", i, w)
		}
	}
	for i, f := range ends {
		if f.Assigned == 0 && sum.Assigned > 20*processes { // else it may be chance
			t.Errorf("process %d never got a device", i)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, w := range o.wrong {
		t.Error(w)
	}
	taken, given, held := 0, 0, 0
	for g := range o.members {
		taken += o.taken[g]
		given += o.given[g]
		switch o.look(g) {
		case "":
			t.Errorf("group %s is split when all is over", g)
		case "vfio":
			held++
		}
	}
	if taken != sum.Assigned || given != sum.Released || taken-given != held {
		t.Errorf("the kernel saw %d taken and %d given back, the processes %d and %d; %d are held", taken, given, sum.Assigned, sum.Released, held)
	}
	// On a machine that is busy with other things everybody waits.
	if limit := 5*time.Second + 10*stall(); sum.Slowest > limit {
		t.Errorf("somebody waited for %v, longer than %v", sum.Slowest, limit)
	}
	n := sum.Assigned + sum.Released + sum.Lost
	t.Logf("attempts: %d", n)
	t.Logf("%d assigned, %d released, %d lost, the slowest in %v; %v to start, then %v; nobody had a turn for up to %v",
		sum.Assigned, sum.Released, sum.Lost, sum.Slowest, ready, took, stall())
	if n < 50_000 {
		t.Errorf("only %d attempts", n)
	}
	if sum.Assigned < 3*processes { // how many depends on how fast the kernel is
		t.Errorf("only %d hand-overs", sum.Assigned)
	}
}

// stalls measures the longest time that this process does not get its turn, until stop.
func stalls() (longest func() time.Duration, stop func()) {
	var most atomic.Int64
	done := make(chan struct{})
	go func() {
		for {
			at := time.Now()
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				most.Store(max(most.Load(), int64(time.Since(at))))
			}
		}
	}()
	return func() time.Duration { return time.Duration(most.Load()) }, func() { close(done) }
}

// plans has the plan for each group.
func plans(t *testing.T, k *sim.Kernel) []assign.Plan {
	t.Helper()
	l, err := laptop.Read(k)
	if err != nil {
		t.Fatal(err)
	}
	var all []assign.Plan
	for _, g := range l.Groups {
		devices := []pci.Address{g.Devices[0]}
		f, err := assign.Read(k, l, devices)
		if err != nil {
			t.Fatal(err)
		}
		p, err := assign.NewPlan(f, assign.Request{Devices: devices, Companions: true, Allow: []laptop.Code{laptop.RouteUnknown, laptop.BootUnknown}})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *p)
	}
	return all
}

// A firstLine keeps what is written and says when it begins.
type firstLine struct {
	text  bytes.Buffer // not embedded: os/exec would fill it by itself
	once  sync.Once
	first func()
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.once.Do(f.first)
	return f.text.Write(p)
}
