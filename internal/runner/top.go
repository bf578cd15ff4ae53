package runner

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
)

// A Top is what a guest uses of the host. What is counted, is counted since its start.
type Top struct {
	Name string  `json:"name"`
	At   float64 `json:"at"` // when this was counted, in seconds since the kernel started

	CPUs       int     `json:"cpus"`        // processors of the guest
	CPUSeconds float64 `json:"cpu_seconds"` // of the host's processors, by all threads of QEMU
	Threads    int     `json:"threads"`     // of QEMU

	Memory   int64 `json:"memory"`   // of the guest, in bytes
	Resident int64 `json:"resident"` // of the host, that QEMU has, in bytes

	Disks    []DiskUse    `json:"disks"`    // in the guest's order
	Networks []NetworkUse `json:"networks"` // likewise
	Devices  []string     `json:"devices"`  // ids of what of the host is assigned
}

// A NetworkUse is what a guest did with one of its network interfaces, those of assigned
// devices not being among them. What is not counted anywhere is nil: neither QEMU nor passt
// counts what goes by NAT.
type NetworkUse struct {
	Link          string `json:"link"`      // nat or tap
	Interface     string `json:"interface"` // the host's end of a tap; empty for NAT
	ReceivedBytes *int64 `json:"received_bytes"`
	SentBytes     *int64 `json:"sent_bytes"`
}

// A DiskUse is what a guest did with one of its disks.
type DiskUse struct {
	File         string `json:"file"`
	ReadBytes    int64  `json:"read_bytes"`
	WrittenBytes int64  `json:"written_bytes"`
	Reads        int64  `json:"reads"`
	Writes       int64  `json:"writes"`
}

func (s *server) top(w http.ResponseWriter, q *http.Request) {
	ctx, cancel := context.WithTimeout(q.Context(), commandTimeout)
	defer cancel()
	t, err := s.r.top(ctx)
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, t)
}

// top counts what the guest uses. QEMU is asked about disks; the rest /proc says.
func (r *runner) top(ctx context.Context) (Top, error) {
	var blocks []blockStats
	if err := r.command(ctx, "query-blockstats", nil, &blocks); err != nil {
		return Top{}, err
	}
	r.mu.Lock()
	g, s, taps := r.guest, r.status.clone(), r.taps
	r.mu.Unlock()
	t := Top{
		Name: s.Name, At: sinceBoot(), CPUs: max(g.CPUs, 1), Memory: g.Memory, Devices: append([]string{}, s.Devices...), Disks: []DiskUse{}, Networks: []NetworkUse{},
	}
	f, err := readStat(r.Host, s.QEMU)
	if err != nil {
		return Top{}, err
	}
	t.CPUSeconds, t.Threads = f.cpu.Seconds(), f.threads
	if t.Resident, err = resident(r.Host, s.QEMU); err != nil {
		return Top{}, err
	}
	for i, d := range g.Disks {
		use := DiskUse{File: d.File}
		for _, b := range blocks {
			if b.disk() == i {
				n := b.Stats
				use.ReadBytes, use.WrittenBytes, use.Reads, use.Writes = n.ReadBytes, n.WrittenBytes, n.Reads, n.Writes
			}
		}
		t.Disks = append(t.Disks, use)
	}
	for _, n := range g.NICs {
		use := NetworkUse{Link: n.Link.String()}
		if n.Link == guest.LinkTap && len(taps) > 0 {
			use.Interface, taps = taps[0], taps[1:]
			use.ReceivedBytes = counted(r.Host, use.Interface, "tx_bytes") // what the host sends
			use.SentBytes = counted(r.Host, use.Interface, "rx_bytes")
		}
		t.Networks = append(t.Networks, use)
	}
	return t, nil
}

// counted reads a counter of a network interface, /sys/class/net/NAME/statistics, which is nil
// if it is not known.
func counted(host fs.FS, name, counter string) *int64 {
	if name == "" {
		return nil
	}
	text, err := fs.ReadFile(host, "sys/class/net/"+name+"/statistics/"+counter)
	if err != nil {
		return nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// tapNames are the names of tap interfaces, by TUNGETIFF of linux/if_tun.h; empty for one that
// does not say.
func tapNames(taps []*os.File) []string {
	names := make([]string, len(taps))
	for i, f := range taps {
		ask, err := unix.NewIfreq("any")
		raw, e := f.SyscallConn()
		if err != nil || e != nil {
			continue
		}
		if e := raw.Control(func(fd uintptr) { err = unix.IoctlIfreq(int(fd), unix.TUNGETIFF, ask) }); err == nil && e == nil {
			names[i] = ask.Name()
		}
	}
	return names
}

// blockStats is an element of the answer to query-blockstats.
type blockStats struct {
	QDev  string `json:"qdev"`
	Stats struct {
		ReadBytes    int64 `json:"rd_bytes"`
		WrittenBytes int64 `json:"wr_bytes"`
		Reads        int64 `json:"rd_operations"`
		Writes       int64 `json:"wr_operations"`
	} `json:"stats"`
}

// diskName is the part of the path of a device that guest/qemu names diskN.
const diskName = `(?:^|/)disk([0-9]{1,4})(?:/|$)`

// disk returns which of the guest's disks it is, -1 for none.
func (b blockStats) disk() int {
	m := regexp.MustCompile(diskName).FindStringSubmatch(b.QDev)
	if m == nil {
		return -1
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return -1
	}
	return n
}

// resident returns how much of the host's memory a process has, VmRSS of
// /proc/PID/status.
func resident(host fs.FS, pid int) (int64, error) {
	name := fmt.Sprintf("proc/%d/status", pid)
	text, err := fs.ReadFile(host, name)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
			kib, err := strconv.ParseInt(f[1], 10, 48)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/%s has no VmRSS", name)
}
