package audio_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// card puts a sound card on device, a directory below sys/devices bound to driver.
func card(t testing.TB, tr *hostfs.Tree, index int, device, driver, id string, nodes ...string) {
	t.Helper()
	dir := fmt.Sprintf("devices/%s/sound/card%d", device, index)
	must(t, tr.Put("sys/"+dir+"/id", []byte(id+"\n")))
	must(t, tr.Symlink("../../../"+device[strings.LastIndexByte(device, '/')+1:], "sys/"+dir+"/device"))
	must(t, tr.Symlink("../../"+dir, fmt.Sprintf("sys/class/sound/card%d", index)))
	if driver != "" {
		must(t, tr.Symlink("../../bus/x/drivers/"+driver, "sys/devices/"+device+"/driver"))
	}
	for _, n := range nodes {
		must(t, tr.Mkdir("sys/"+dir+"/"+n))
		must(t, tr.Symlink("../../"+dir+"/"+n, "sys/class/sound/"+n))
	}
}

func desk(t testing.TB) *hostfs.Tree {
	tr := new(hostfs.Tree)
	const usb = "pci0000:00/0000:00:14.0/usb1/1-4"
	card(t, tr, 0, "pci0000:00/0000:00:1f.3/skl_hda_dsp_generic", "skl_hda_dsp_generic", "sofhdadsp", "controlC0", "pcmC0D0p", "pcmC0D0c", "hwC0D0", "dsp", "mixer")
	card(t, tr, 10, usb+"/1-4.2/1-4.2:1.0", "snd-usb-audio", "C930e_1", "controlC10", "pcmC10D0c")
	card(t, tr, 1, usb+"/1-4.1/1-4.1:1.0", "snd-usb-audio", "C930e", "controlC1", "pcmC1D0c")
	card(t, tr, 2, "pci0000:00/0000:00:01.0/0000:01:00.1", "snd_hda_intel", "NVidia", "controlC2", "pcmC2D3p")
	card(t, tr, 3, "platform/snd_aloop.0", "snd_aloop", "Loopback", "controlC3")
	card(t, tr, 4, "virtual", "", "Dummy", "controlC4")
	card(t, tr, 40, "virtual", "", "Dummy_1", "controlC40")
	for _, n := range []string{"seq", "timer"} {
		must(t, tr.Mkdir("sys/devices/virtual/sound/"+n))
		must(t, tr.Symlink("../../devices/virtual/sound/"+n, "sys/class/sound/"+n))
	}
	must(t, tr.Put("proc/asound/cards", []byte(
		" 0 [sofhdadsp      ]: sof-hda-dsp - sof-hda-dsp\n                      LENOVO-20UHCTO1WW\n"+
			" 1 [C930e          ]: USB-Audio - Logitech Webcam C930e\n                      Logitech at usb-0000:00:14.0-4.1\n"+
			" 2 [Other          ]: HDA-Intel - HDA Other\n                      of another card\n"+
			"10 [C930e_1        ]: USB-Audio - Logitech Webcam C930e\n                      Logitech at usb-0000:00:14.0-4.2\n")))
	return tr
}

func line(c audio.Card) string {
	return fmt.Sprintf("%d %s %q %v %v [%s] %s\n", c.Index, c.ID, c.Name, c.Function, c.Port, c.Driver, strings.Join(c.Nodes, " "))
}

func lines(cards []audio.Card) string {
	var b strings.Builder
	for _, c := range cards {
		b.WriteString(line(c))
	}
	return b.String()
}

const deskLines = `0 sofhdadsp "sof-hda-dsp" 0000:00:1f.3 invalid port path [skl_hda_dsp_generic] dev/snd/controlC0 dev/dsp dev/snd/hwC0D0 dev/mixer dev/snd/pcmC0D0c dev/snd/pcmC0D0p
1 C930e "Logitech Webcam C930e" 0000:00:14.0 1-4.1 [snd-usb-audio] dev/snd/controlC1 dev/snd/pcmC1D0c
2 NVidia "" 0000:01:00.1 invalid port path [snd_hda_intel] dev/snd/controlC2 dev/snd/pcmC2D3p
3 Loopback "" invalid address invalid port path [snd_aloop] dev/snd/controlC3
4 Dummy "" invalid address invalid port path [] dev/snd/controlC4
10 C930e_1 "Logitech Webcam C930e" 0000:00:14.0 1-4.2 [snd-usb-audio] dev/snd/controlC10 dev/snd/pcmC10D0c
40 Dummy_1 "" invalid address invalid port path [] dev/snd/controlC40
`

func TestCards(t *testing.T) {
	cards, err := audio.Cards(desk(t))
	if err != nil {
		t.Error(err)
	}
	if got := lines(cards); got != deskLines {
		t.Errorf("got\n%swant\n%s", got, deskLines)
	}
}

func TestNoSound(t *testing.T) {
	tr := new(hostfs.Tree)
	if cards, err := audio.Cards(tr); cards != nil || err != nil {
		t.Errorf("no class: %v, %v", cards, err)
	}
	must(t, tr.Symlink("../../devices/virtual/sound/seq", "sys/class/sound/seq"))
	must(t, tr.Put("sys/class/sound/card01/id", nil))
	must(t, tr.Put("proc/asound/cards", []byte("--- no soundcards ---\n")))
	if cards, err := audio.Cards(tr); cards != nil || err != nil {
		t.Errorf("no cards: %v, %v", cards, err)
	}
}

func TestFailures(t *testing.T) {
	for _, tt := range []struct {
		name   string
		fail   string // the name, and what is below it
		err    error
		detail string
		want   func(string) string
	}{
		{"unplugged", "sys/class/sound/card1", syscall.ENOENT, "read card1: no such card",
			func(s string) string { return strings.Replace(s, strings.Split(s, "\n")[1]+"\n", "", 1) }},
		{"id", "sys/class/sound/card2/id", syscall.ENODEV, "read card2: ", func(s string) string { return strings.Replace(s, `NVidia ""`, ` "HDA Other"`, 1) }},
		{"names", "proc/asound/cards", syscall.EIO, "read names of sound cards: ",
			func(s string) string {
				return strings.NewReplacer(`"sof-hda-dsp"`, `""`, `"Logitech Webcam C930e"`, `""`).Replace(s)
			}},
		{"node", "sys/class/sound/pcmC0D0c", syscall.ENOENT, "", func(s string) string { return strings.Replace(s, " dev/snd/pcmC0D0c", "", 1) }},
		{"class", "sys/class/sound", syscall.EIO, "list sound cards: ", func(string) string { return "" }},
	} {
		cards, err := audio.Cards(hosttest.Failing{Tree: desk(t), Fail: func(name string) error {
			if rest, ok := strings.CutPrefix(name, tt.fail); ok && (rest == "" || rest[0] == '/') {
				return tt.err
			}
			return nil
		}})
		var op *audio.OpError
		if tt.detail == "" && err != nil || tt.detail != "" && (!errors.Is(err, tt.err) || !errors.As(err, &op) || !strings.HasPrefix(err.Error(), tt.detail)) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if got, want := lines(cards), tt.want(deskLines); got != want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, want)
		}
	}
}

// TestGarbage puts nonsense into each file and link, one after another: nothing
// panics and every other card stays as it was.
func TestGarbage(t *testing.T) {
	nonsense := [][]byte{nil, []byte("\n"), []byte("\x00\xff\xfe[\n]: - "), bytes.Repeat([]byte("]: [-/.. "), 9000)}
	old := desk(t)
	before, err := audio.Cards(old)
	must(t, err)
	seen := 0
	err = fs.WalkDir(old, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		seen++
		for _, data := range nonsense {
			tr := old.Clone()
			if e.Type() == fs.ModeSymlink {
				must(t, tr.Remove(name))
				must(t, tr.Symlink("x"+string(data), name))
			} else {
				must(t, tr.WriteFile(name, data))
			}
			after, _ := audio.Cards(tr)
			for _, c := range before {
				mine := fmt.Sprintf("card%d/", c.Index)
				if strings.Contains(name+"/", mine) || slices.Contains(c.Nodes, "dev/snd/"+filepath.Base(name)) || slices.Contains(c.Nodes, "dev/"+filepath.Base(name)) {
					continue
				}
				i := slices.IndexFunc(after, func(a audio.Card) bool { return a.Index == c.Index })
				if i < 0 {
					t.Errorf("%.20q in %s hid card %d", data, name, c.Index)
					continue
				}
				a := after[i]
				switch { // what the file is about may change
				case name == "proc/asound/cards":
					a.Name = c.Name
				case strings.HasSuffix(name, "/driver"):
					a.Driver = c.Driver
				}
				if line(a) != line(c) {
					t.Errorf("%.20q in %s changed card %d", data, name, c.Index)
				}
			}
		}
		return nil
	})
	if err != nil || seen < 30 {
		t.Errorf("%d names, %v", seen, err)
	}
}

// TestHosts reads real machines that were saved without their sound cards.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no saved machines: %v", err)
	}
	for _, file := range files {
		host, err := hostfs.Open(file)
		must(t, err)
		entries, _ := fs.ReadDir(host, "sys/class/sound")
		want := 0
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "card") {
				want++
			}
		}
		if cards, err := audio.Cards(host); len(cards) != want || err != nil {
			t.Errorf("%s: %d cards, want %d, %v", filepath.Base(file), len(cards), want, err)
		}
		must(t, host.Close())
	}
}

func BenchmarkCards(b *testing.B) {
	tr := desk(b)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = audio.Cards(tr)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
