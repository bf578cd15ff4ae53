package audio_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/usb"
)

func port(t testing.TB, s string) usb.PortPath {
	t.Helper()
	p, err := usb.ParsePortPath(s)
	must(t, err)
	return p
}

const (
	status = "state: RUNNING\nowner_pid   : 1234\ntrigger_time: 3723.500000001\ntstamp      : 0.000000000\ndelay       : 1024\navail       : 15360\n" +
		"avail_max   : 15360\n-----\nhw_ptr      : 512\nappl_ptr    : 1536\n"
	params = "access: MMAP_INTERLEAVED\nformat: S32_LE\nsubformat: STD\nchannels: 2\nrate: 48000 (48000/1)\nperiod_size: 1024\nbuffer_size: 32768\n"
)

// playing is a card with two PCMs, on which PipeWire plays.
func playing(t testing.TB) *hostfs.Tree {
	tr := new(hostfs.Tree)
	for name, text := range map[string]string{
		"id": "PCH\n", "pcm0p/info": "card: 0\ndevice: 0\nsubdevice: 0\nstream: PLAYBACK\nid: ALC257 Analog\nname: ALC257 Analog\nsubname: subdevice #0\n",
		"pcm0p/sub0/info": "card: 0\n", "pcm0p/sub0/status": status, "pcm0p/sub0/hw_params": params,
		"pcm0c/info": "id: ALC257 Analog\nname: ALC257\x1b: Analog\n", "pcm0c/sub0/status": "closed\n", "pcm0c/sub0/hw_params": "closed\n",
		"pcm10p/info": "id: HDMI 3\nname: HDMI 3\n", "pcm10p/sub1/status": "closed\n",
		"pcm10p/sub0/status": "state: OPEN\nowner_pid   : 0\n", "pcm10p/sub0/hw_params": "no setup\n",
		"pcmp/info": "", "pcm1x/info": "", "pcm70000p/info": "",
	} {
		must(t, tr.Put("proc/asound/card0/"+name, []byte(text)))
	}
	must(t, tr.Put("proc/1234/comm", []byte("pipewire\n")))
	return tr
}

func running() []audio.Stream {
	return []audio.Stream{
		{ID: "ALC257 Analog", Name: "ALC257 Analog", State: audio.Running, Owner: 1234, Program: "pipewire", Format: "S32_LE", Rate: 48000, Channels: 2,
			Period: 1024, Buffer: 32768, Trigger: time.Hour + 2*time.Minute + 3*time.Second + 500*time.Millisecond + 1},
		{Capture: true, ID: "ALC257 Analog", Name: "ALC257 : Analog", State: audio.Closed},
		{Device: 10, ID: "HDMI 3", Name: "HDMI 3", State: audio.Open},
		{Device: 10, Sub: 1, ID: "HDMI 3", Name: "HDMI 3", State: audio.Closed},
	}
}

// A card whose PCM a program has open hangs whoever unbinds its driver, and nothing
// but the PCM's status says so.
func TestStreams(t *testing.T) {
	got, err := audio.Streams(playing(t), audio.Card{Index: 0})
	if d := cmp.Diff(running(), got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	var open []string
	for _, s := range got {
		if s.InUse() {
			open = append(open, s.Node()+" "+s.Program)
		}
	}
	if d := cmp.Diff([]string{"dev/snd/pcmC0D0p pipewire", "dev/snd/pcmC0D10p "}, open); d != "" {
		t.Error(d)
	}
}

func TestStates(t *testing.T) {
	for _, state := range []audio.State{audio.Open, audio.Setup, audio.Prepared, audio.Running, audio.XRun, audio.Draining, audio.Paused, audio.Suspended, audio.Disconnected} {
		tr := playing(t)
		must(t, tr.Put("proc/asound/card0/pcm0p/sub0/status", []byte("state: "+string(state)+"\nowner_pid   : 77\ntrigger_time: -1.000000000\n")))
		got, err := audio.Streams(tr, audio.Card{})
		if err != nil || got[0].State != state || !got[0].InUse() || got[0].Owner != 77 || got[0].Program != "" || got[0].Trigger != 0 {
			t.Errorf("%s: %v\n%+v", state, err, got[0])
		}
	}
	for _, text := range []string{"", "error -19\n", "state: SINGING\n", "state: closed\n"} {
		tr := playing(t)
		must(t, tr.Put("proc/asound/card0/pcm0p/sub0/status", []byte(text)))
		got, err := audio.Streams(tr, audio.Card{})
		if err == nil || !strings.Contains(err.Error(), "pcm0p/sub0/status") || len(got) != 4 || got[0].State != "" || got[0].InUse() {
			t.Errorf("%q: %v\n%+v", text, err, got)
		}
	}
}

func TestStreamsFail(t *testing.T) {
	for _, tt := range []struct {
		fail string
		err  error
		want func([]audio.Stream) []audio.Stream
	}{
		{"proc/asound/card0/pcm0p/sub0/status", syscall.ENOENT, func(s []audio.Stream) []audio.Stream { return s[1:] }},
		{"proc/asound/card0/pcm0p/sub0/status", syscall.EIO, func(s []audio.Stream) []audio.Stream {
			s[0] = audio.Stream{ID: s[0].ID, Name: s[0].Name}
			return s
		}},
		{"proc/asound/card0/pcm0p", syscall.ENOENT, func(s []audio.Stream) []audio.Stream { return s[1:] }},
		{"proc/asound/card0/pcm10p/info", syscall.EACCES, func(s []audio.Stream) []audio.Stream {
			s[2].ID, s[2].Name, s[3].ID, s[3].Name = "", "", "", ""
			return s
		}},
		{"proc/asound/card0/pcm0p/sub0/hw_params", syscall.EIO, func(s []audio.Stream) []audio.Stream {
			s[0].Format, s[0].Rate, s[0].Channels, s[0].Period, s[0].Buffer = "", 0, 0, 0, 0
			return s
		}},
		{"proc/1234/comm", syscall.ESRCH, func(s []audio.Stream) []audio.Stream {
			s[0].Program = ""
			return s
		}},
		{"proc/asound/card0", syscall.EIO, func([]audio.Stream) []audio.Stream { return nil }},
	} {
		got, err := audio.Streams(hosttest.Failing{Tree: playing(t), Fail: func(name string) error {
			if name == tt.fail || tt.fail == "proc/asound/card0/pcm0p" && strings.HasPrefix(name, tt.fail) {
				return tt.err
			}
			return nil
		}}, audio.Card{})
		silent := tt.err == syscall.ENOENT || tt.err == syscall.ESRCH
		var op *audio.OpError
		if d := cmp.Diff(tt.want(running()), got); d != "" || (err == nil) != silent || err != nil && (!errors.Is(err, tt.err) || !errors.As(err, &op)) {
			t.Errorf("%s %v: %v\n%s", tt.fail, tt.err, err, d)
		}
	}
}

// A saved machine knows which PCMs there were, not what they did.
func TestStreamsOfSaved(t *testing.T) {
	tr := new(hostfs.Tree)
	if _, err := audio.Streams(tr, audio.Card{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without /proc/asound: %v", err)
	}
	must(t, tr.Put("proc/asound/pcm", []byte("00-00: ALC257 Analog : ALC257 : Analog : playback 1 : capture 2\n00-03: HDMI 0 : HDMI 0 : playback 1\n"+
		"01-00: other : other : playback 1\n00-04: playback 3\nnonsense\n00-05: x : x : playback -1\n")))
	want := []audio.Stream{
		{ID: "ALC257 Analog", Name: "ALC257 : Analog"}, {ID: "ALC257 Analog", Name: "ALC257 : Analog", Capture: true},
		{ID: "ALC257 Analog", Name: "ALC257 : Analog", Capture: true, Sub: 1}, {Device: 3, ID: "HDMI 0", Name: "HDMI 0"},
		{Device: 4}, {Device: 4, Sub: 1}, {Device: 4, Sub: 2},
	}
	got, err := audio.Streams(tr, audio.Card{})
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v\n%s", err, d)
	}
	must(t, tr.Put("proc/asound/pcm", []byte("00-00: x : x : playback 999999\n00-01: x : x : playback 999999\n")))
	if got, err := audio.Streams(tr, audio.Card{}); len(got) != 1024 || err == nil {
		t.Errorf("%d streams, %v", len(got), err)
	}
	for i := range 1030 {
		must(t, tr.Put(fmt.Sprintf("proc/asound/card0/pcm0p/sub%d/status", i), []byte("closed\n")))
	}
	if got, err := audio.Streams(tr, audio.Card{}); len(got) != 1024 || err == nil {
		t.Errorf("%d streams, %v", len(got), err)
	}
}
