package laptop_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

// identities reads one identity a line: the ID, then KIND=VALUE. An ID without a
// topology sits at a place of that name.
func identities(lines string) []laptop.Identity {
	var list []laptop.Identity
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		given := map[string]string{"topology": "at/" + fields[0]}
		for _, f := range fields[1:] {
			kind, value, _ := strings.Cut(f, "=")
			given[kind] = value
		}
		id := laptop.Identity{ID: fields[0], Role: laptop.Storage}
		for _, k := range laptop.Kinds() {
			if v := given[string(k)]; v != "" {
				source := "sys/" + string(k)
				if offered, ok := strings.CutSuffix(v, "!"); ok { // not only what is active
					v, source = offered, "sys/descriptors"
				}
				id.Evidence = append(id.Evidence, laptop.Evidence{Kind: k, Value: v, Source: source})
			}
		}
		list = append(list, id)
	}
	return list
}

// became says what became of each: "moved usb:1-1 usb:1-2".
func became(rows []laptop.Matched) []string {
	list := []string{}
	for _, r := range rows {
		s := string(r.Outcome)
		for _, id := range []string{r.Before, r.After} {
			if id != "" {
				s += " " + id
			}
		}
		if r.Outcome == laptop.Ambiguous {
			s += " of " + strings.Join(r.Candidates, " ")
		}
		if r.Suspicious {
			s += " +" + strings.Join(r.Added, ",") + " -" + strings.Join(r.Removed, ",")
		}
		list = append(list, s)
	}
	return list
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct{ name, before, after, want string }{
		{"nothing", "", "", ""},
		{"gone and new", "pci:0000:01:00.0 ids=1:1", "pci:0000:02:00.0 ids=2:2", "gone pci:0000:01:00.0; new pci:0000:02:00.0"},
		{"renumbered (46)", "pci:0000:01:00.0 ids=1:1 topology=r/1c.0/00.0", "pci:0000:04:00.0 ids=1:1 topology=r/1c.0/00.0",
			"same pci:0000:01:00.0 pci:0000:04:00.0"},
		{"two that exchange their addresses (46)", "pci:0000:01:00.0 ids=1:1 topology=r/1\n pci:0000:02:00.0 ids=1:1 topology=r/2",
			"pci:0000:02:00.0 ids=1:1 topology=r/1\n pci:0000:01:00.0 ids=1:1 topology=r/2",
			"same pci:0000:01:00.0 pci:0000:02:00.0; same pci:0000:02:00.0 pci:0000:01:00.0"},
		{"a root port that firmware toggled", "pci:0000:01:00.0 ids=1:1 firmware=RP5\n pci:0000:02:00.0 ids=1:1 firmware=RP9",
			"pci:0000:03:00.0 ids=1:1 firmware=RP5\n pci:0000:04:00.0 ids=1:1 firmware=RP9",
			"moved pci:0000:01:00.0 pci:0000:03:00.0; moved pci:0000:02:00.0 pci:0000:04:00.0"},

		{"a serial number found elsewhere", "usb:1-1 ids=1:1 serial=A1B2", "usb:2-4 ids=1:1 serial=A1B2", "moved usb:1-1 usb:2-4"},
		{"two sticks that changed places", "usb:1-1 ids=1:1 serial=A1B2\n usb:1-2 ids=1:1 serial=C3D4",
			"usb:1-1 ids=1:1 serial=C3D4\n usb:1-2 ids=1:1 serial=A1B2", "moved usb:1-1 usb:1-2; moved usb:1-2 usb:1-1"},
		{"another stick of the same make", "usb:1-1 ids=1:1 serial=A1B2", "usb:1-1 ids=1:1 serial=C3D4", "replaced usb:1-1 usb:1-1"},
		{"a stick in the place of one that moved", "usb:1-1 ids=1:1 serial=A1B2", "usb:1-1 ids=2:2\n usb:1-5 ids=1:1 serial=A1B2",
			"moved usb:1-1 usb:1-5; new usb:1-1"},
		{"the serial number of another make", "usb:1-1 ids=1:1 serial=A1B2", "usb:1-4 ids=2:2 serial=A1B2", "gone usb:1-1; new usb:1-4"},
		{"a serial number that cannot be read any more", "usb:1-1 ids=1:1 serial=A1B2", "usb:1-1 ids=1:1", "same usb:1-1 usb:1-1"},

		{"twins that stay (47)", "usb:1-1 ids=1:1\n usb:1-2 ids=1:1", "usb:1-2 ids=1:1\n usb:1-1 ids=1:1", "same usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"twins, one gone (47)", "usb:1-1 ids=1:1\n usb:1-2 ids=1:1", "usb:1-2 ids=1:1", "gone usb:1-1; same usb:1-2 usb:1-2"},
		{"twins, one elsewhere and one gone (47)", "usb:1-1 ids=1:1\n usb:1-2 ids=1:1", "usb:1-3 ids=1:1",
			"ambiguous usb:1-1 of usb:1-3; ambiguous usb:1-2 of usb:1-3; ambiguous usb:1-3 of usb:1-1 usb:1-2"},
		{"twins, one elsewhere (47)", "usb:1-1 ids=1:1\n usb:1-2 ids=1:1", "usb:1-1 ids=1:1\n usb:1-3 ids=1:1",
			"same usb:1-1 usb:1-1; ambiguous usb:1-2 of usb:1-1 usb:1-3; ambiguous usb:1-3 of usb:1-1 usb:1-2"},
		{"twins, one elsewhere, before the other (47)", "usb:1-2 ids=1:1\n usb:1-3 ids=1:1", "usb:1-1 ids=1:1\n usb:1-3 ids=1:1",
			"ambiguous usb:1-2 of usb:1-1 usb:1-3; same usb:1-3 usb:1-3; ambiguous usb:1-1 of usb:1-2 usb:1-3"},
		{"twins of which one is known for certain", "usb:1-1 ids=1:1 serial=A1B2 revision=1\n usb:1-2 ids=1:1 serial=C3D4 revision=1",
			"usb:1-1 ids=1:1 serial=A1B2 revision=1\n usb:1-3 ids=1:1 revision=2", "same usb:1-1 usb:1-1; moved usb:1-2 usb:1-3"},
		{"three of which one is known for certain", "usb:1-1 ids=1:1 serial=A1B2 revision=1\n usb:1-2 ids=1:1 revision=1\n usb:1-3 ids=1:1 revision=2",
			"usb:1-1 ids=1:1 serial=A1B2 revision=1\n usb:1-5 ids=1:1 revision=1\n usb:1-6 ids=1:1 revision=2",
			"same usb:1-1 usb:1-1; moved usb:1-2 usb:1-5; moved usb:1-3 usb:1-6"},
		{"twins with one serial number (47)", "usb:1-1 ids=1:1 serial=A1B2\n usb:1-2 ids=1:1 serial=A1B2",
			"usb:1-3 ids=1:1 serial=A1B2\n usb:1-2 ids=1:1 serial=A1B2",
			"ambiguous usb:1-1 of usb:1-2 usb:1-3; same usb:1-2 usb:1-2; ambiguous usb:1-3 of usb:1-1 usb:1-2"},
		{"a twin with the same serial number came (47)", "usb:1-1 ids=1:1 serial=A1B2", "usb:1-1 ids=1:1 serial=A1B2\n usb:1-2 ids=1:1 serial=A1B2",
			"same usb:1-1 usb:1-1; new usb:1-2"},
		{"one serial number of two makes", "usb:1-1 ids=1:1 serial=A1B2\n usb:1-2 ids=2:2 serial=A1B2",
			"usb:1-3 ids=2:2 serial=A1B2\n usb:1-4 ids=1:1 serial=A1B2", "moved usb:1-1 usb:1-4; moved usb:1-2 usb:1-3"},
		{"twins of which one has a serial number", "usb:1-1 ids=1:1 serial=A1B2\n usb:1-2 ids=1:1", "usb:1-3 ids=1:1 serial=A1B2\n usb:1-4 ids=1:1",
			"moved usb:1-1 usb:1-3; moved usb:1-2 usb:1-4"},
		{"twins of other releases", "usb:1-1 ids=1:1 revision=0100\n usb:1-2 ids=1:1 revision=0200",
			"usb:1-3 ids=1:1 revision=0200\n usb:1-4 ids=1:1 revision=0100", "moved usb:1-1 usb:1-4; moved usb:1-2 usb:1-3"},
		{"cards of other makers with one chip", "pci:0000:01:00.0 ids=1:1 subsystem=a:a\n pci:0000:02:00.0 ids=1:1 subsystem=b:b",
			"pci:0000:03:00.0 ids=1:1 subsystem=b:b", "gone pci:0000:01:00.0; moved pci:0000:02:00.0 pci:0000:03:00.0"},
		{"another maker's card in the slot", "pci:0000:01:00.0 ids=1:1 subsystem=a:a class=020000", "pci:0000:01:00.0 ids=1:1 subsystem=b:b class=020000",
			"replaced pci:0000:01:00.0 pci:0000:01:00.0"},
		{"two makers' cards that changed slots", "pci:0000:01:00.0 ids=1:1 subsystem=a:a firmware=A\n pci:0000:02:00.0 ids=1:1 subsystem=b:b firmware=B",
			"pci:0000:01:00.0 ids=1:1 subsystem=b:b firmware=A\n pci:0000:02:00.0 ids=1:1 subsystem=a:a firmware=B",
			"moved pci:0000:01:00.0 pci:0000:02:00.0; moved pci:0000:02:00.0 pci:0000:01:00.0"},
		{"a maker that one side does not know", "pci:0000:01:00.0 ids=1:1 subsystem=a:a", "pci:0000:01:00.0 ids=1:1", "same pci:0000:01:00.0 pci:0000:01:00.0"},
		{"keyboard and tablet of the same ids that changed ports", "usb:1-1 ids=627:1 descriptors=k interfaces=030101!\n usb:1-2 ids=627:1 descriptors=t interfaces=030000!",
			"usb:1-1 ids=627:1 descriptors=t interfaces=030000!\n usb:1-2 ids=627:1 descriptors=k interfaces=030101!",
			"moved usb:1-1 usb:1-2; moved usb:1-2 usb:1-1"},
		{"three that went round", "usb:1-1 ids=627:1 descriptors=a\n usb:1-2 ids=627:1 descriptors=b\n usb:1-3 ids=627:1 descriptors=c",
			"usb:1-1 ids=627:1 descriptors=c\n usb:1-2 ids=627:1 descriptors=a\n usb:1-3 ids=627:1 descriptors=b",
			"moved usb:1-1 usb:1-2; moved usb:1-2 usb:1-3; moved usb:1-3 usb:1-1"},
		{"another of the same ids in the place of one that moved", "usb:1-1 ids=627:1 descriptors=k", "usb:1-1 ids=627:1 descriptors=t\n usb:1-2 ids=627:1 descriptors=k",
			"moved usb:1-1 usb:1-2; new usb:1-1"},
		{"other firmware in one that stays", "usb:1-1 ids=1:1 revision=0100 descriptors=x\n usb:1-2 ids=1:1 revision=0100 descriptors=x",
			"usb:1-1 ids=1:1 revision=0101 descriptors=y\n usb:1-2 ids=1:1 revision=0100 descriptors=x", "same usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"other firmware in twins", "usb:1-1 ids=1:1 descriptors=x\n usb:1-2 ids=1:1 descriptors=y", "usb:1-1 ids=1:1 descriptors=y\n usb:1-2 ids=1:1 descriptors=y",
			"same usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"a stick that became a keyboard where it is", "usb:1-1 ids=1:1 descriptors=x interfaces=080650!\n usb:1-2 ids=1:1 descriptors=z interfaces=080650!",
			"usb:1-1 ids=1:1 descriptors=y interfaces=030101,080650!\n usb:1-2 ids=1:1 descriptors=z interfaces=080650!",
			"same usb:1-1 usb:1-1 +030101 -; same usb:1-2 usb:1-2"},
		{"the same descriptors and another serial number", "usb:1-1 ids=1:1 descriptors=x serial=A1B2\n usb:1-2 ids=1:1 descriptors=y",
			"usb:1-1 ids=1:1 descriptors=y\n usb:1-2 ids=1:1 descriptors=x serial=C3D4", "gone usb:1-1; moved usb:1-2 usb:1-1; new usb:1-2"},
		{"what is at the old place does not say", "usb:1-1 ids=1:1 descriptors=x", "usb:1-1 ids=1:1\n usb:1-2 ids=1:1 descriptors=x",
			"same usb:1-1 usb:1-1; new usb:1-2"},
		{"a placeholder for a serial number", "usb:1-1 ids=1:1 serial=0123456789ABCDEF", "usb:1-1 ids=1:1 serial=000000", "same usb:1-1 usb:1-1"},
		{"one of a kind, elsewhere", "usb:1-1 ids=1:1 serial=A1B2", "usb:1-3 ids=1:1", "moved usb:1-1 usb:1-3"},
		{"one of a kind, of another release", "usb:1-1 ids=1:1 revision=1", "usb:1-3 ids=1:1 revision=2", "moved usb:1-1 usb:1-3"},

		{"an interface by its address, not its name (41)", "pci:0000:01:00.0 ids=1:1 mac=00:e0:4c:00:00:01\n pci:0000:02:00.0 ids=1:1 mac=00:e0:4c:00:00:02",
			"pci:0000:01:00.0 ids=1:1 mac=00:e0:4c:00:00:02\n pci:0000:02:00.0 ids=1:1 mac=00:e0:4c:00:00:01",
			"moved pci:0000:01:00.0 pci:0000:02:00.0; moved pci:0000:02:00.0 pci:0000:01:00.0"},
		{"another card of the same make (41)", "pci:0000:01:00.0 ids=1:1 mac=00:e0:4c:00:00:01", "pci:0000:01:00.0 ids=1:1 mac=00:e0:4c:00:00:02",
			"replaced pci:0000:01:00.0 pci:0000:01:00.0"},
		{"one more interface", "usb:1-1 ids=1:1 mac=00:e0:4c:00:00:01", "usb:1-1 ids=1:1 mac=00:e0:4c:00:00:01,00:e0:4c:00:00:02", "same usb:1-1 usb:1-1"},
		{"the address of a dock on two adapters", "usb:1-1 ids=1:1 mac=00:e0:4c:00:00:01\n usb:1-2 ids=2:2 mac=00:e0:4c:00:00:01",
			"usb:1-1 ids=1:1 mac=00:e0:4c:00:00:09\n usb:1-2 ids=2:2", "same usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"serial number and address say otherwise", "usb:1-1 ids=1:1 serial=A1B2 mac=00:e0:4c:00:00:01", "usb:1-2 ids=1:1 serial=A1B2\n usb:1-3 ids=1:1 serial=C3D4 mac=00:e0:4c:00:00:01",
			"moved usb:1-1 usb:1-2; new usb:1-3"},
		{"an address that outlived its serial number", "usb:1-1 ids=1:1 serial=A1B2 mac=00:e0:4c:00:00:01", "usb:1-2 ids=1:1 serial=C3D4 mac=00:e0:4c:00:00:01",
			"gone usb:1-1; new usb:1-2"},
		{"two sticks by what is on them", "usb:1-1 ids=1:1 wwid=t10.A\n usb:1-2 ids=1:1 wwid=t10.B", "usb:1-3 ids=1:1 wwid=t10.B\n usb:1-4 ids=1:1 wwid=t10.A",
			"moved usb:1-1 usb:1-4; moved usb:1-2 usb:1-3"},

		{"scrubbed with two salts", "usb:1-1 ids=1:1 serial=SCRUBBED00112233AABB", "usb:1-1 ids=1:1 serial=SCRUBBED99112233AABB", "same usb:1-1 usb:1-1"},
		{"twins, scrubbed with two salts", "usb:1-1 ids=1:1 serial=SCRUBBED00112233AABB\n usb:1-2 ids=1:1 serial=SCRUBBED11112233AABB",
			"usb:1-1 ids=1:1 serial=SCRUBBED99112233AABB\n usb:1-2 ids=1:1 serial=SCRUBBED88112233AABB", "same usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"scrubbed with two salts, elsewhere", "usb:1-1 ids=1:1 revision=1 serial=SCRUBBED00112233AABB", "usb:1-2 ids=1:1 revision=2 serial=SCRUBBED99112233AABB",
			"moved usb:1-1 usb:1-2"},
		{"scrubbed addresses, elsewhere", "usb:1-1 ids=1:1 revision=1 mac=02:00:00:00:00:01", "usb:1-2 ids=1:1 revision=2 mac=02:00:00:00:00:02",
			"moved usb:1-1 usb:1-2"},
		{"scrubbed and raw", "pci:0000:01:00.0 ids=1:1 mac=02:11:22:33:44:55", "pci:0000:01:00.0 ids=1:1 mac=00:e0:4c:00:00:02", "same pci:0000:01:00.0 pci:0000:01:00.0"},
		{"a serial number that is a UUID", "usb:1-1 ids=1:1 serial=4c4c4544-0042-3510-8047-b9c04f463533", "usb:1-1 ids=1:1 serial=11111111-2222-3333-4444-555555555555",
			"same usb:1-1 usb:1-1"},
		{"scrubbed with one salt", "usb:1-1 ids=1:1 serial=SCRUBBED00112233AABB\n usb:1-2 ids=1:1 serial=SCRUBBED99112233AABB",
			"usb:1-1 ids=1:1 serial=SCRUBBED99112233AABB\n usb:1-2 ids=1:1 serial=SCRUBBED00112233AABB", "moved usb:1-1 usb:1-2; moved usb:1-2 usb:1-1"},

		{"a serial number that is an address, scrubbed with two salts", "usb:1-1 ids=1:1 serial=02ABCDEF0123", "usb:1-1 ids=1:1 serial=024567890123", "same usb:1-1 usb:1-1"},
		{"a clone with the serial number of a capture", "usb:1-1 ids=1:1 serial=A1B2C3\n usb:1-2 ids=2:2 serial=D4E5F6",
			"usb:1-1 ids=1:1 serial=SCRUBBED00112233AABB\n usb:1-2 ids=2:2 serial=D4E5F6", "replaced usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"a clone elsewhere", "usb:1-1 ids=1:1 serial=A1B2C3\n usb:1-2 ids=2:2 serial=D4E5F6",
			"usb:1-3 ids=1:1 serial=SCRUBBED00112233AABB\n usb:1-2 ids=2:2 serial=D4E5F6", "gone usb:1-1; same usb:1-2 usb:1-2; new usb:1-3"},
		{"two UUIDs of machines that are no captures", "usb:1-1 ids=1:1 serial=4c4c4544-0042-3510-8047-b9c04f463533\n usb:1-2 ids=2:2 serial=D4E5F6",
			"usb:1-1 ids=1:1 serial=11111111-2222-3333-4444-555555555555\n usb:1-2 ids=2:2 serial=D4E5F6", "replaced usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"a capture beside what is none", "usb:1-1 ids=1:1 serial=SCRUBBED00112233AABB\n usb:1-2 ids=2:2 serial=SCRUBBED11112233AABB",
			"usb:1-1 ids=1:1 serial=A1B2C3\n usb:1-2 ids=2:2 serial=D4E5F6", "same usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},
		{"a serial number that captures leave as it is", "usb:1-1 ids=1:1 serial=SCRUBBED00112233AABB\n usb:1-2 ids=2:2 serial=28754-0000:00:04.0-1",
			"usb:1-1 ids=1:1 serial=SCRUBBED99112233AABB\n usb:1-2 ids=2:2 serial=28754-0000:00:04.0-1", "same usb:1-1 usb:1-1; same usb:1-2 usb:1-2"},

		{"another mode (49)", "usb:1-1 ids=12d1:1f01", "usb:1-1 ids=12d1:14dc", "replaced usb:1-1 usb:1-1"},
		{"a function of unknown ids", "pci:0000:01:00.0 ids=1:1", "pci:0000:01:00.0", "same pci:0000:01:00.0 pci:0000:01:00.0"},
		{"the same ids on another bus", "usb:1-1 ids=1:1 topology=x serial=A1B2 mac=00:e0:4c:00:00:01", "pci:0000:01:00.0 ids=1:1 topology=x serial=A1B2 mac=00:e0:4c:00:00:01",
			"gone usb:1-1; new pci:0000:01:00.0"},
		{"another notebook", "pci:0000:00:02.0 ids=8086:1\n pci:0000:01:00.0 ids=10de:1\n usb:1-1 ids=1:1 serial=A1B2",
			"pci:0000:00:02.0 ids=8086:2\n pci:0000:04:00.0 ids=1002:1\n usb:5-7 ids=1:1 serial=A1B2",
			"replaced pci:0000:00:02.0 pci:0000:00:02.0; gone pci:0000:01:00.0; moved usb:1-1 usb:5-7; new pci:0000:04:00.0"},
		{"a place that two claim", "usb:1-1 ids=1:1 topology=x\n usb:1-2 ids=2:2 topology=x", "usb:1-1 ids=1:1 topology=x\n usb:1-2 ids=3:3 topology=x",
			"same usb:1-1 usb:1-1; gone usb:1-2; new usb:1-2"},

		{"a stick that became a keyboard as well", "usb:1-1 ids=1:1 interfaces=080650", "usb:1-1 ids=1:1 interfaces=030101,080650", "same usb:1-1 usb:1-1 +030101 -"},
		{"a keyboard that turned up elsewhere with a disk", "usb:1-1 ids=1:1 serial=A1B2 interfaces=030101", "usb:1-2 ids=1:1 serial=A1B2 interfaces=080650",
			"moved usb:1-1 usb:1-2 +080650 -030101"},
		{"a twin that came back elsewhere as a disk as well", "usb:1-1 ids=1:1 interfaces=030101\n usb:1-2 ids=1:1 interfaces=030101",
			"usb:1-1 ids=1:1 interfaces=030101\n usb:1-3 ids=1:1 interfaces=030101,080650",
			"same usb:1-1 usb:1-1; ambiguous usb:1-2 of usb:1-1 usb:1-3; ambiguous usb:1-3 of usb:1-1 usb:1-2 +080650 -"},
		{"twins of which one always was a disk as well", "usb:1-1 ids=1:1 interfaces=030101\n usb:1-2 ids=1:1 interfaces=030101,080650\n usb:1-4 ids=1:1",
			"usb:1-5 ids=1:1 interfaces=030101,080650 revision=2\n usb:1-3 ids=1:1\n usb:1-6 ids=1:1 interfaces=080650",
			"ambiguous usb:1-1 of usb:1-3 usb:1-5 usb:1-6 +080650 -; ambiguous usb:1-2 of usb:1-3 usb:1-5 usb:1-6; " +
				"moved usb:1-4 usb:1-3; ambiguous usb:1-5 of usb:1-1 usb:1-2 usb:1-4; ambiguous usb:1-6 of usb:1-1 usb:1-2 usb:1-4 + -030101"},
		{"another thing altogether is not suspicious", "usb:1-1 ids=1:1 interfaces=080650", "usb:1-1 ids=2:2 interfaces=030101", "replaced usb:1-1 usb:1-1"},
		{"a second keyboard in one", "usb:1-1 ids=1:1 interfaces=030101!", "usb:1-1 ids=1:1 interfaces=030101x2!", "same usb:1-1 usb:1-1 +030101 -"},
		{"two keyboards fewer", "usb:1-1 ids=1:1 interfaces=030101x3", "usb:1-1 ids=1:1 interfaces=030101", "same usb:1-1 usb:1-1 + -030101,030101"},
		{"one configuration gets what another had", "usb:1-1 ids=1:1 interfaces=030101;080650!", "usb:1-1 ids=1:1 interfaces=030101,080650;080650!",
			"same usb:1-1 usb:1-1 +080650 -"},
		{"one more configuration of the same", "usb:1-1 ids=1:1 interfaces=030101x2,080650!", "usb:1-1 ids=1:1 interfaces=030101;030101x2,080650!", "same usb:1-1 usb:1-1"},
		{"UAS as well", "usb:1-1 ids=1:1 interfaces=080650!", "usb:1-1 ids=1:1 interfaces=080650,080662!", "same usb:1-1 usb:1-1"},
		{"UAS", "usb:1-1 ids=1:1 interfaces=080650", "usb:1-1 ids=1:1 interfaces=080662", "same usb:1-1 usb:1-1"},
		{"not authorised", "usb:1-1 ids=1:1 interfaces=030101", "usb:1-1 ids=1:1", "same usb:1-1 usb:1-1"},
		{"another configuration of the same device", "usb:1-1 ids=1:1 descriptors=x interfaces=ffff00", "usb:1-1 ids=1:1 descriptors=x interfaces=020600", "same usb:1-1 usb:1-1"},
		{"active of what is offered", "usb:1-1 ids=1:1 interfaces=020600,ffff00!", "usb:1-1 ids=1:1 interfaces=020600", "same usb:1-1 usb:1-1"},
		{"active of what was offered", "usb:1-1 ids=1:1 interfaces=020600", "usb:1-1 ids=1:1 interfaces=020600,ffff00!", "same usb:1-1 usb:1-1"},
		{"more is active than was, of what is offered now", "usb:1-1 ids=1:1 interfaces=080650", "usb:1-1 ids=1:1 interfaces=030101,080650! active=030101,080650",
			"same usb:1-1 usb:1-1 +030101 -"},
		{"as much is active as was", "usb:1-1 ids=1:1 interfaces=080650", "usb:1-1 ids=1:1 interfaces=080650,080662;ff0000! active=080662", "same usb:1-1 usb:1-1"},
		{"another configuration is active, both known", "usb:1-1 ids=1:1 interfaces=020600;ffff00! active=020600",
			"usb:1-1 ids=1:1 interfaces=020600;ffff00! active=ffff00", "same usb:1-1 usb:1-1"},
		{"active and not offered", "usb:1-1 ids=1:1 interfaces=020600,ffff00!", "usb:1-1 ids=1:1 interfaces=030101", "same usb:1-1 usb:1-1 +030101 -"},
		{"active and not offered any more", "usb:1-1 ids=1:1 interfaces=030101", "usb:1-1 ids=1:1 interfaces=020600,ffff00!", "same usb:1-1 usb:1-1 + -030101"},
		{"offered and not offered any more", "usb:1-1 ids=1:1 interfaces=020600,030101!", "usb:1-1 ids=1:1 interfaces=020600!", "same usb:1-1 usb:1-1 + -030101"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, after := identities(tt.before), identities(tt.after)
			want := []string{}
			if tt.want != "" {
				want = strings.Split(tt.want, "; ")
			}
			rows := laptop.Match(before, after)
			checkMatch(t, before, after, rows)
			if diff := cmp.Diff(want, became(rows)); diff != "" {
				t.Error(diff)
			}
			symmetric(t, before, after)
		})
	}
}

// symmetric compares a match with the one of the two exchanged.
func symmetric(t testing.TB, before, after []laptop.Identity) {
	t.Helper()
	turned := laptop.Match(after, before)
	for i := range turned {
		r := &turned[i]
		r.Before, r.After = r.After, r.Before
		r.Added, r.Removed = r.Removed, r.Added
		switch r.Outcome {
		case laptop.Gone:
			r.Outcome = laptop.Arrived
		case laptop.Arrived:
			r.Outcome = laptop.Gone
		}
	}
	if diff := cmp.Diff(sorted(laptop.Match(before, after)), sorted(turned)); diff != "" {
		t.Errorf("exchanged: %s", diff)
	}
}

func sorted(rows []laptop.Matched) []string {
	list := became(rows)
	for i := range list {
		list[i] += fmt.Sprint(" ", rows[i].Score)
	}
	slices.Sort(list)
	return list
}

func TestMatchScore(t *testing.T) {
	before := identities("usb:1-1 ids=1:1 serial=A1B2 revision=0100 driver=uas port=connect_type=hotplug")
	after := identities("usb:1-2 ids=1:1 serial=A1B2 revision=0101 driver=usb-storage class=000000")
	r := laptop.Match(before, after)[0]
	// Agreed: serial number and ids, 60. Known: topology, revision and driver besides, 86.
	if r.Score != 70 {
		t.Errorf("score %d", r.Score)
	}
	want := map[laptop.Kind]iommu.Answer{
		laptop.BySerial: iommu.Yes, laptop.ByTopology: iommu.No, laptop.ByPort: iommu.Unknown, laptop.ByIDs: iommu.Yes,
		laptop.ByRevision: iommu.No, laptop.ByClass: iommu.Unknown, laptop.ByDriver: iommu.No,
	}
	for _, e := range r.Evidence {
		if a, ok := want[e.Kind]; !ok || a != e.Agrees {
			t.Errorf("%+v", e)
		}
		delete(want, e.Kind)
	}
	if len(want) > 0 {
		t.Errorf("not told: %v", want)
	}
}

// What a capture may have replaced leaves a doubt: never all agrees.
func TestMatchUncompared(t *testing.T) {
	const because = " could not be compared: a capture may have replaced what differs"
	for pair, want := range map[string]string{
		"serial=SCRUBBED00112233AABB > serial=A1B2":                                                  "99 its serial number" + because,
		"serial=SCRUBBED00112233AABB > serial=SCRUBBED99112233AABB":                                  "99 its serial number" + because,
		"serial=SCRUBBED00112233AABB mac=02:11:22:33:44:55 > serial=A1B2 mac=00:e0:4c:00:00:02":      "99 its serial number, MAC address" + because,
		"serial=SCRUBBED00112233AABB wwid=a > serial=SCRUBBED00112233AABB wwid=SCRUBBED99112233AABB": "99 its disk" + because,
		"serial=SCRUBBED00112233AABB > serial=SCRUBBED00112233AABB":                                  "100 ",
		"serial=000000 > serial=A1B2":                                                                "100 ",
		"mac=02:11:22:33:44:55 > serial=A1B2":                                                        "100 ",
		"serial=SCRUBBED00112233AABB revision=1 > serial=A1B2 revision=2":                            "89 its serial number" + because,
	} {
		a, b, _ := strings.Cut(pair, ">")
		before, after := identities("usb:1-1 ids=1:1 "+a), identities("usb:1-1 ids=1:1 "+b)
		rows := laptop.Match(before, after)
		checkMatch(t, before, after, rows)
		symmetric(t, before, after)
		if got := fmt.Sprint(rows[0].Score, " ", rows[0].Note); got != want || rows[0].Outcome != laptop.Same {
			t.Errorf("%s: %s, want %s", pair, got, want)
		}
	}
}

func TestMatchNotes(t *testing.T) {
	for pair, want := range map[string]bool{
		"usb:1-1 ids=12d1:1f01 > usb:1-1 ids=12d1:14dc":                                     true, // a modem that was a disk
		"usb:1-1 ids=0483:5740 > usb:1-1 ids=1eaf:df11 interfaces=fe0102":                   true, // DFU
		"usb:1-1 ids=1:1 serial=A1B2 > usb:1-1 ids=2:2 serial=A1B2":                         true,
		"usb:1-1 ids=0781:5567 > usb:1-1 ids=1307:0165":                                     false,
		"usb:1-1 ids=1:1 serial=A1B2 > usb:1-1 ids=1:1 serial=C3D4":                         false,
		"pci:0000:01:00.0 ids=8086:1 > pci:0000:01:00.0 ids=8086:2":                         false,
		"usb:1-1 ids=1:1 interfaces=080650 > usb:1-1 ids=2:2 interfaces=080650,030101,ff00": false,
	} {
		a, b, _ := strings.Cut(pair, ">")
		r := laptop.Match(identities(a), identities(b))[0]
		if r.Outcome != laptop.Replaced || (r.Note == "may be the same hardware in another mode") != want || !want && r.Note != "" {
			t.Errorf("%s: %+v", pair, r)
		}
	}
}

// The socket says what the firmware states; what one side does not state is no
// difference.
func TestMatchSockets(t *testing.T) {
	for pair, want := range map[string]iommu.Answer{
		"panel=left dock=no|panel=left":     iommu.Yes,
		"panel=left dock=no|panel=right":    iommu.No,
		"panel=left|connect_type=hotplug":   iommu.Unknown,
		"panel=left lid=no|lid=no dock=yes": iommu.Yes,
	} {
		a, b, _ := strings.Cut(pair, "|")
		one := func(port string) []laptop.Identity {
			return []laptop.Identity{{ID: "usb:1-1", Evidence: []laptop.Evidence{
				{Kind: laptop.ByTopology, Value: "x"}, {Kind: laptop.ByPort, Value: port}}}}
		}
		if got := laptop.Match(one(a), one(b))[0].Evidence[1].Agrees; got != want {
			t.Errorf("%s: %v, want %v", pair, got, want)
		}
	}
}

// The same machine after a start at which all numbers came out otherwise.
func TestRenumbered(t *testing.T) {
	before := workstation(t, firstStart).identify()
	for _, n := range []numbers{
		{root: 0x21, dock: 0x30, vmd: 7, domain: 0x10002, usb2: 3, usb3: 4, card: 1, wlan: 1, group: 20},
		{root: 3, dock: 9, vmd: 1, domain: 0x10000, usb2: 2, usb3: 1, group: 1}, // the halves exchanged
	} {
		h := workstation(t, n)
		after := h.identify()
		rows := laptop.Match(before, after)
		checkMatch(t, before, after, rows)
		for _, r := range rows {
			if r.Outcome != laptop.Same || r.Score != 100 || r.Suspicious {
				t.Errorf("%+v", r)
			}
		}
		if len(rows) != len(before) || len(rows) < 15 {
			t.Errorf("%d of %d", len(rows), len(before))
		}
	}
}

// One socket is a port of each half of the controller; in another socket the device
// has moved.
func TestHalves(t *testing.T) {
	plugged := func(path string) []laptop.Identity {
		h := workstation(t, firstStart)
		h.stick(xhci, path, "951/1666/110", "", "8/6/80")
		return h.identify()
	}
	for paths, want := range map[string]string{
		"1-5 2-11": "same", "2-11 1-5": "same", "1-5 1-5": "same", "2-11 2-12": "moved", "1-5 2-12": "moved", "2-11 1-11": "moved",
	} {
		a, b, _ := strings.Cut(paths, " ")
		before, after := plugged(a), plugged(b)
		rows := laptop.Match(before, after)
		checkMatch(t, before, after, rows)
		if !slices.Contains(became(rows), want+" usb:"+a+" usb:"+b) {
			t.Errorf("%s: %v", paths, became(rows))
		}
	}
}
