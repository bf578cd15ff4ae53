package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/laptop"
)

// Bounds of what is kept of the devices that a guest had.
const (
	maxKnownDevices  = 4 // of one need: those of as many machines, or replacements
	maxKnownEvidence = 32
	maxKnownValue    = 4096
)

// A knownDevices is what is kept of the devices that a guest had, by its needs: what they
// are known again by, on this machine or another.
type knownDevices struct {
	Needs []knownNeed `json:"needs"`
}

type knownNeed struct {
	Need    string            `json:"need"`    // its words, and which it is of several of the same
	Devices []laptop.Identity `json:"devices"` // the last one first
}

// parseKnown reads what is kept. Of nothing it is nothing.
func parseKnown(text []byte) (k knownDevices, err error) {
	if len(text) == 0 {
		return k, nil
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&k); err != nil {
		return knownDevices{}, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return knownDevices{}, errors.New("there is more behind it")
	}
	for _, n := range k.Needs {
		for _, id := range n.Devices {
			long := slices.ContainsFunc(id.Evidence, func(e laptop.Evidence) bool { return len(e.Value) > maxKnownValue })
			if len(n.Devices) > maxKnownDevices || len(id.Evidence) > maxKnownEvidence || long {
				return knownDevices{}, fmt.Errorf("more is kept of %.80q than is ever kept", n.Need)
			}
		}
	}
	return k, nil
}

// readKnown reads what is kept of a guest. What is damaged is not taken for nothing: it may
// be what keeps a device that has become another one from the guest.
func readKnown(e store.Entry) (knownDevices, error) {
	text, err := e.Known()
	if err != nil {
		return knownDevices{}, err
	}
	k, err := parseKnown(text)
	if err != nil {
		err = fmt.Errorf("%s, which says what devices the guest had, is damaged: %w; without it they are not known any more", e.KnownFile(), err)
	}
	return k, err
}

// keys are the names of needs, in their order.
func keys(needs []guest.Need) []string {
	seen := map[string]int{}
	all := make([]string, len(needs))
	for i, n := range needs {
		key := n.String() + " " + string(n.How)
		if seen[key]++; seen[key] > 1 {
			all[i] = key + " " + strconv.Itoa(seen[key])
		} else {
			all[i] = key
		}
	}
	return all
}

// of returns what is known of the devices of a need.
func (k knownDevices) of(key string) []laptop.Identity {
	i := slices.IndexFunc(k.Needs, func(n knownNeed) bool { return n.Need == key })
	if i < 0 {
		return nil
	}
	return k.Needs[i].Devices
}

// with returns what is known when the needs of a guest were met so, and whether that is
// another than before. What was known of needs that the guest has not any more is dropped;
// that of those that were not met now stays.
func (k knownDevices) with(needs laptop.Resolution, at laptop.Places) (knownDevices, bool) {
	var wanted []guest.Need
	for _, n := range needs {
		wanted = append(wanted, n.Need)
	}
	var now knownDevices
	for i, key := range keys(wanted) {
		devices := slices.Clone(k.of(key))
		if n := needs[i]; (n.State == laptop.NeedMatched || n.State == laptop.NeedSubstituted) && len(n.Devices) > 0 {
			p := slices.IndexFunc(at.Devices, func(p laptop.Place) bool { return p.Identity.ID == n.Devices[0] })
			if p >= 0 {
				id := at.Devices[p].Identity
				devices = slices.DeleteFunc(devices, func(old laptop.Identity) bool { return sameEvidence(old, id) })
				devices = slices.Insert(devices, 0, id)
			}
		}
		if len(devices) > 0 {
			now.Needs = append(now.Needs, knownNeed{key, devices[:min(len(devices), maxKnownDevices)]})
		}
	}
	was, _ := json.Marshal(k)
	is, _ := json.Marshal(now)
	return now, !bytes.Equal(was, is)
}

// sameEvidence reports whether two identities say the same of a device.
func sameEvidence(a, b laptop.Identity) bool {
	return a.Role == b.Role && slices.EqualFunc(a.Evidence, b.Evidence, func(x, y laptop.Evidence) bool {
		return x.Kind == y.Kind && (x.Value == y.Value || x.Kind.Weight() <= 1) // which may change at any time
	})
}

// keepKnown keeps what a guest that runs got, for its next start.
func keepKnown(s store.Store, name string, known knownDevices, told *slog.Logger) {
	text, err := json.MarshalIndent(known, "", "  ")
	if err == nil {
		err = s.KeepKnown(context.Background(), name, append(text, '\n'))
	}
	if err != nil {
		told.Warn("what the guest's devices are known by is not kept", "err", err)
	}
}
