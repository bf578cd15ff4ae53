package daemon

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/internal/runner"
)

// A PowerReport is what the daemon knows of the power of the host, and what it did with
// guests because of it.
type PowerReport struct {
	Logind    string        `json:"logind" doc:"Why logind is not heard; empty when it is"`
	Wait      float64       `json:"wait" doc:"Seconds that logind waits for guests before the host sleeps; 0 when it is not heard"`
	Sleeping  bool          `json:"sleeping"`
	LidClosed bool          `json:"lid_closed"`
	Battery   power.Battery `json:"battery"`
	Steps     []PowerStep   `json:"steps" doc:"The last things done, the latest last"`
}

// A PowerStep is one thing that was done with a guest.
type PowerStep struct {
	At     float64       `json:"at" doc:"Seconds since the kernel started"`
	Guest  string        `json:"guest"`
	Do     power.Do      `json:"do" enum:"pause,sleep,shutdown,let-go,start"`
	Reason runner.Reason `json:"reason" enum:"host-sleep,lid-closed,low-battery"`
	Took   float64       `json:"took" doc:"Seconds"`
	Error  string        `json:"error" doc:"Why it was not done, or not all of it"`
}

// maxSteps is how many steps are kept.
const maxSteps = 100

// note tells what became of a step.
func (k *keeper) note(s power.Step, began time.Time, err error) {
	took := time.Since(began)
	one := PowerStep{At: sinceBoot(), Guest: s.Guest, Do: s.Do, Reason: s.Reason, Took: took.Seconds()}
	if err != nil {
		one.Error = err.Error()
		k.d.Logger.Error("power", "guest", s.Guest, "do", s.Do, "reason", s.Reason, "took", took, "err", err)
	} else {
		k.d.Logger.Info("power", "guest", s.Guest, "do", s.Do, "reason", s.Reason, "took", took)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.report.Steps = append(k.report.Steps, one)
	if n := len(k.report.Steps); n > maxSteps {
		k.report.Steps = slices.Delete(k.report.Steps, 0, n-maxSteps)
	}
}

type powerOut struct{ Body PowerReport }

func (d *Daemon) power(context.Context, *struct{}) (*powerOut, error) {
	k := d.keeper.Load()
	if k == nil {
		return &powerOut{PowerReport{Logind: "the daemon does not look after it", Steps: []PowerStep{}}}, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.report
	r.Sleeping, r.LidClosed, r.Battery = k.host.Sleeping, k.host.LidClosed, k.host.Battery
	r.Steps = append([]PowerStep{}, r.Steps...)
	return &powerOut{r}, nil
}

// offs are the guests that were shut down until a reason is over, in a file too.
type offs struct {
	mu   sync.Mutex
	file string
	kept keptOffs
}

type keptOffs struct {
	BootID string      `json:"boot_id"`
	Off    []power.Off `json:"off"`
}

// maxOffs is how long the file may be.
const maxOffs = 1 << 20

// loadOffs reads them. What is of another boot is nothing.
func (d *Daemon) loadOffs(file string) *offs {
	o := &offs{file: file, kept: keptOffs{BootID: d.BootID}}
	var kept keptOffs
	err := recall(file, maxOffs, &kept)
	if err == nil && kept.BootID == d.BootID {
		o.kept = kept
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.Logger.Warn("which guests are to be started again is not known", "err", err)
	}
	return o
}

func (o *offs) list() []power.Off {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.kept.Off)
}

// add keeps that a guest is to be started again. It is on disk when add returns.
func (o *offs) add(d *Daemon, one power.Off) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if slices.ContainsFunc(o.kept.Off, func(k power.Off) bool { return k.Name == one.Name }) {
		return
	}
	o.kept.Off = append(o.kept.Off, one)
	o.save(d)
}

func (o *offs) forget(d *Daemon, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.kept.Off = slices.DeleteFunc(o.kept.Off, func(k power.Off) bool { return k.Name == name })
	o.save(d)
}

// save writes the file. The caller has the lock.
func (o *offs) save(d *Daemon) {
	if err := keep(o.file, o.kept); err != nil {
		d.Logger.Warn("which guests are to be started again is not kept", "err", err)
	}
}
