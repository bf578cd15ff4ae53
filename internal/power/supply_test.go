package power

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// tree makes files of lines NAME=CONTENT, and links of lines NAME->TARGET.
func tree(lines ...string) *hostfs.Tree {
	m := new(hostfs.Tree)
	for _, l := range lines {
		var err error
		if name, target, is := strings.Cut(l, "->"); is {
			err = m.Symlink(target, name)
		} else {
			name, content, _ := strings.Cut(l, "=")
			err = m.Put(name, []byte(content+"\n"))
		}
		if err != nil {
			panic(err) // of this test's own making
		}
	}
	return m
}

// supply makes the files of a power supply.
func supply(name string, attributes ...string) (lines []string) {
	for _, a := range attributes {
		lines = append(lines, "sys/class/power_supply/"+name+"/"+a)
	}
	return lines
}

func TestReadBattery(t *testing.T) {
	mains := func(online string) []string { return supply("AC", "type=Mains", "online="+online) }
	battery := func(name, capacity, status string, more ...string) []string {
		return supply(name, append([]string{"type=Battery", "present=1", "capacity=" + capacity, "status=" + status}, more...)...)
	}
	join := func(all ...[]string) (lines []string) {
		for _, a := range all {
			lines = append(lines, a...)
		}
		return lines
	}
	for name, tt := range map[string]struct {
		lines []string
		want  Battery
		err   string
	}{
		"a desktop":          {nil, Battery{}, ""},
		"no battery":         {mains("1"), Battery{}, ""},
		"on mains":           {join(mains("1"), battery("BAT0", "80", "Charging")), Battery{true, 80, false}, ""},
		"on battery":         {join(mains("0"), battery("BAT0", "12", "Discharging")), Battery{true, 12, true}, ""},
		"full":               {join(mains("1"), battery("BAT0", "101", "Full")), Battery{true, 100, false}, ""},
		"two, one as large":  {join(battery("BAT0", "0", "Not charging"), battery("BAT1", "50", "Discharging")), Battery{true, 25, true}, ""},
		"two, one larger":    {join(battery("BAT0", "0", "Not charging", "energy_full=20000000"), battery("BAT1", "50", "Discharging", "energy_full=60000000")), Battery{true, 37, true}, ""},
		"by charge":          {join(battery("BAT0", "10", "Discharging", "charge_full=1000"), battery("BAT1", "90", "Discharging", "charge_full=3000")), Battery{true, 70, true}, ""},
		"a weak charger":     {join(mains("1"), battery("BAT0", "4", "Discharging")), Battery{true, 4, true}, ""},
		"a mouse":            {join(battery("hidpp_battery_0", "3", "Discharging", "scope=Device"), battery("BAT0", "90", "Discharging")), Battery{true, 90, true}, ""},
		"only a mouse":       {battery("hidpp_battery_0", "3", "Discharging", "scope=Device"), Battery{}, ""},
		"taken out":          {supply("BAT0", "type=Battery", "present=0", "capacity=0", "status=Unknown"), Battery{}, ""},
		"unknown on mains":   {join(mains("1"), battery("BAT0", "50", "Unknown")), Battery{true, 50, false}, ""},
		"unknown without":    {join(mains("0"), battery("BAT0", "50", "Unknown")), Battery{true, 50, true}, ""},
		"unknown of unknown": {battery("BAT0", "50", "Unknown"), Battery{true, 50, false}, ""},
		"plugged by USB-C":   {join(mains("0"), supply("ucsi-source-psy-1", "type=USB", "online=1"), battery("BAT0", "50", "Unknown")), Battery{true, 50, false}, ""},
		"odd":                {battery("BAT0", "many", "Discharging"), Battery{}, `/sys/class/power_supply/BAT0/capacity: "many" is no percentage`},
		"one odd":            {join(battery("BAT0", "-1", "Discharging"), battery("BAT1", "7", "Discharging")), Battery{true, 7, true}, `/sys/class/power_supply/BAT0/capacity: "-1" is no percentage`},
		"nothing of a size":  {battery("BAT0", "7", "Discharging", "energy_full=0"), Battery{true, 7, true}, ""},
	} {
		got, err := ReadBattery(tree(tt.lines...))
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%s: %+v, %v; want %+v, %s", name, got, err, tt.want, tt.err)
		}
	}
	broken := hosttest.Failing{Tree: tree(join(battery("BAT0", "50", "Discharging"), battery("BAT1", "10", "Discharging"))...), Fail: func(name string) error {
		if name == "sys/class/power_supply/BAT0/capacity" {
			return errors.New("EIO")
		}
		return nil
	}}
	if got, err := ReadBattery(broken); got != (Battery{true, 10, true}) || err == nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestReadLid(t *testing.T) {
	for text, want := range map[string][2]bool{"state:      closed": {true, true}, "state:      open": {false, true}, "state:      unknown": {}, "closed": {}, "": {}} {
		closed, known := ReadLid(tree("proc/acpi/button/lid/LID0/state=" + text))
		if [2]bool{closed, known} != want {
			t.Errorf("%q: closed %v, known %v", text, closed, known)
		}
	}
	if closed, known := ReadLid(tree()); closed || known {
		t.Error("a machine without a lid has one")
	}
}

func TestLidInputs(t *testing.T) {
	sw := func(input, bits string) string {
		return "sys/class/input/" + input + "/device/capabilities/sw=" + bits
	}
	got := LidInputs(tree(sw("event0", "0"), sw("event1", "1"), sw("event2", "20"), sw("event3", "1 0"), sw("event4", "0 21"), sw("input5", "1"), sw("event6", ""), sw("event7", "x")))
	if diff := cmp.Diff([]string{"dev/input/event1", "dev/input/event4"}, got); diff != "" {
		t.Error(diff)
	}
}

func inputEvents(all ...[3]uint32) []byte {
	var b []byte
	for _, e := range all {
		b = append(b, make([]byte, 16)...)
		b = binary.NativeEndian.AppendUint16(b, uint16(e[0]))
		b = binary.NativeEndian.AppendUint16(b, uint16(e[1]))
		b = binary.NativeEndian.AppendUint32(b, e[2])
	}
	return b
}

func TestLid(t *testing.T) {
	var got []bool
	events := inputEvents([3]uint32{5, 0, 1}, [3]uint32{0, 0, 0}, [3]uint32{5, 5, 1}, [3]uint32{1, 0, 1}, [3]uint32{5, 0, 0})
	if err := Lid(bytes.NewReader(events), func(closed bool) { got = append(got, closed) }); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	if diff := cmp.Diff([]bool{true, false}, got); diff != "" {
		t.Error(diff)
	}
	if err := Lid(bytes.NewReader(events[:30]), func(bool) {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// What is read of power supplies and lids may say anything.
func FuzzSupply(f *testing.F) {
	f.Add("Battery", "50", "Discharging", "50000000", "state: open", "1")
	f.Add("Mains", "-5", "", "0", "", "ffffffffffffffffff 1")
	f.Add("Battery", "99999999999999999999", "Unknown", "9223372036854775807", "state:closed", "-1")
	f.Fuzz(func(t *testing.T, kind, capacity, status, full, lid, sw string) {
		fsys := new(hostfs.Tree)
		put := func(name, text string) {
			if err := fsys.Put(name, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range map[string]string{"power_supply/BAT0/type": kind, "power_supply/BAT0/capacity": capacity, "power_supply/BAT0/status": status,
			"power_supply/BAT0/energy_full": full, "power_supply/BAT0/online": capacity, "input/event0/device/capabilities/sw": sw} {
			put("sys/class/"+name, text)
		}
		put("proc/acpi/button/lid/LID/state", lid)
		put("sys/power/mem_sleep", status)
		b, _ := ReadBattery(fsys)
		if b.Percent < 0 || b.Percent > 100 || !b.Known && b != (Battery{}) {
			t.Errorf("%+v", b)
		}
		if closed, known := ReadLid(fsys); closed && !known {
			t.Error("what is not known is closed")
		}
		for _, n := range LidInputs(fsys) {
			if n != "dev/input/event0" {
				t.Errorf("%q", n)
			}
		}
		_ = SleepMode(fsys)
	})
}
