package hostedit

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// debianGrub is written as Debian's package does.
const debianGrub = `# If you change this file, run 'update-grub' afterwards to update
# /boot/grub/grub.cfg. GRUB_CMDLINE_LINUX_DEFAULT="commented" is no assignment.

GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR=` + "`( . /etc/os-release; echo ${NAME:-Debian} ) 2>/dev/null || echo Debian`" + `
GRUB_CMDLINE_LINUX_DEFAULT="quiet splash"
GRUB_CMDLINE_LINUX=""   # of all entries
#GRUB_TERMINAL=console
`

const fedoraGrub = `GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR="$(sed 's, release .*$,,g' /etc/system-release)"
GRUB_DEFAULT=saved
GRUB_CMDLINE_LINUX="rd.luks.uuid=luks-1 rhgb quiet"
GRUB_ENABLE_BLSCFG=true
`

const kernelstubJSON = `{
  "default": {
    "kernel_options": [
      "quiet",
      "splash"
    ],
    "esp_path": "/boot/efi"
  },
  "user": {
    "kernel_options": [
      "quiet",
      "loglevel=0",
      "splash"
    ],
    "esp_path": "/boot/efi",
    "setup_loader": false,
    "config_rev": 3
  }
}`

const extlinuxConf = `## /boot/extlinux/extlinux.conf
default l0
menu title U-Boot menu
timeout 50

label l0
	menu label Debian GNU/Linux 12
	linux /boot/vmlinuz
	initrd /boot/initrd.img
	append root=UUID=1 ro quiet

LABEL l0r
	LINUX /boot/vmlinuz
	APPEND root=UUID=1 ro single
`

func grubEdit(words ...string) Edit {
	return Edit{
		File: "etc/default/grub", Kind: ShellString, Keys: []string{"GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_CMDLINE_LINUX"}, Words: words,
		Against: []string{"intel_iommu=off"},
	}
}

func TestAdd(t *testing.T) {
	const p = "intel_iommu=on"
	for _, test := range []struct {
		name        string
		edit        Edit
		text        string
		old, become string // what changes in the text; both empty for nothing
	}{
		{"debian", grubEdit(p), debianGrub, `="quiet splash"`, `="quiet splash intel_iommu=on"`},
		{"two words", grubEdit(p, "a.b=c"), debianGrub, `="quiet splash"`, `="quiet splash intel_iommu=on a.b=c"`},
		{"the other key", grubEdit(p), fedoraGrub, `rhgb quiet"`, `rhgb quiet intel_iommu=on"`},
		{"empty", grubEdit(p), "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n", `""`, `"intel_iommu=on"`},
		{"single quotes", grubEdit(p), "GRUB_CMDLINE_LINUX_DEFAULT='quiet' # x\n", `'quiet'`, `'quiet intel_iommu=on'`},
		{"no quotes", grubEdit(p), "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n", `=quiet`, `="quiet intel_iommu=on"`},
		{"nothing after =", grubEdit(p), "GRUB_CMDLINE_LINUX_DEFAULT=\n", `=`, `="intel_iommu=on"`},
		{"blank at the end", grubEdit(p), "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet \"\n", `"quiet "`, `"quiet  intel_iommu=on"`},
		{"export", grubEdit(p), "export GRUB_X\nexport GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n", `"quiet"`, `"quiet intel_iommu=on"`},
		{"no newline at the end", grubEdit(p), `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`, `"quiet"`, `"quiet intel_iommu=on"`},
		{"not assigned", grubEdit(p), "GRUB_DEFAULT=0\n", "0\n", "0\nGRUB_CMDLINE_LINUX_DEFAULT=\"intel_iommu=on\"\n"},
		{"not assigned, no newline", grubEdit(p), "GRUB_DEFAULT=0", "0", "0\nGRUB_CMDLINE_LINUX_DEFAULT=\"intel_iommu=on\"\n"},
		{"there already", grubEdit(p), "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=on\"\n", "", ""},
		{"part of a word", grubEdit(p), "GRUB_CMDLINE_LINUX_DEFAULT=\"xintel_iommu=on\"\n", `"xintel_iommu=on"`, `"xintel_iommu=on intel_iommu=on"`},

		{"cmdline", Edit{File: "f", Kind: WordLine, Words: []string{p}}, "root=UUID=1 quiet\n", "quiet", "quiet intel_iommu=on"},
		{"cmdline, no newline", Edit{File: "f", Kind: WordLine, Words: []string{p}}, "quiet", "quiet", "quiet intel_iommu=on"},
		{"cmdline, CRLF", Edit{File: "f", Kind: WordLine, Words: []string{p}}, "quiet\r\n", "quiet", "quiet intel_iommu=on"},

		{"entry", Edit{File: "f", Kind: LoaderEntry, Words: []string{p}}, "title x\nlinux /vmlinuz\noptions root=1\noptions quiet\n", "quiet", "quiet intel_iommu=on"},
		{"entry, CRLF", Edit{File: "f", Kind: LoaderEntry, Words: []string{p}}, "linux /vmlinuz\r\noptions root=1\r\n", "root=1", "root=1 intel_iommu=on"},
		{"entry without options", Edit{File: "f", Kind: LoaderEntry, Words: []string{p}}, "linux /vmlinuz\n", "vmlinuz\n", "vmlinuz\noptions intel_iommu=on\n"},
		{"entry with it in another line", Edit{File: "f", Kind: LoaderEntry, Words: []string{p}}, "linux /x\noptions intel_iommu=on\noptions quiet\n", "", ""},
		{"entry of another system", Edit{File: "f", Kind: LoaderEntry, Words: []string{p}}, "title Windows\nefi /EFI/Microsoft/x.efi\n", "", ""},

		{"kernelstub", Edit{File: "f", Kind: JSONStrings, Keys: []string{"user.kernel_options"}, Words: []string{p}}, kernelstubJSON,
			"\"loglevel=0\",\n      \"splash\"", "\"loglevel=0\",\n      \"splash\",\n      \"intel_iommu=on\""},
		{"kernelstub, one", Edit{File: "f", Kind: JSONStrings, Keys: []string{"user.k"}, Words: []string{p}}, `{"user": {"k": ["a"]}}`, `"a"`, `"a","intel_iommu=on"`},
		{"kernelstub, none", Edit{File: "f", Kind: JSONStrings, Keys: []string{"user.k"}, Words: []string{p}}, `{"user": {"k": []}}`, `[]`, `["intel_iommu=on"]`},

		{"modules", Edit{File: "f", Kind: WordLines, Words: []string{"vfio_pci", "vfio"}}, "# c\nloop\n", "loop\n", "loop\nvfio_pci\nvfio\n"},
		{"modules, one there", Edit{File: "f", Kind: WordLines, Words: []string{"vfio_pci", "vfio"}}, "# c\nvfio_pci ids=x", "ids=x", "ids=x\nvfio\n"},

		{"lines", Edit{File: "f", Kind: Lines, Words: []string{"# remark", "softdep a pre: b"}}, "softdep  a pre: b\n# remark", "# remark", "# remark\nsoftdep a pre: b\n"},
		{"mkinitcpio", Edit{File: "f", Kind: ShellArray, Keys: []string{"MODULES"}, Words: []string{"vfio_pci", "vfio"}},
			"# MODULES=(piix)\nMODULES=(i915)\nHOOKS=(base udev)\n", "(i915)", "(i915 vfio_pci vfio)"},
		{"mkinitcpio, none", Edit{File: "f", Kind: ShellArray, Keys: []string{"MODULES"}, Words: []string{"vfio_pci"}}, "MODULES=()\n", "()", "(vfio_pci)"},
		{"dracut", Edit{File: "f", Kind: ShellAppend, Keys: []string{"add_drivers"}, Words: []string{"vfio_pci", "vfio"}}, "# c\n", "# c\n", "# c\nadd_drivers+=\" vfio_pci vfio \"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := test.text
			if test.old != "" {
				i := strings.LastIndex(test.text, test.old)
				want = test.text[:i] + test.become + test.text[i+len(test.old):]
			}
			got, err := test.edit.add(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			again, err := test.edit.add(got)
			if err != nil || again != got {
				t.Errorf("added again: %v\n%s", err, again)
			}
		})
	}
}

// All labels get the word, whatever the case of the keywords.
func TestAddExtlinux(t *testing.T) {
	e := Edit{File: "f", Kind: Extlinux, Words: []string{"intel_iommu=on"}}
	got, err := e.add(extlinuxConf)
	want := strings.NewReplacer("quiet\n", "quiet intel_iommu=on\n", "single\n", "single intel_iommu=on\n").Replace(extlinuxConf)
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Error(err, d)
	}
}

// What is not understood is left alone, and the line named.
func TestNotUnderstood(t *testing.T) {
	grub, cmdline := grubEdit("intel_iommu=on"), Edit{File: "f", Kind: WordLine, Words: []string{"x"}}
	entry, ext := Edit{File: "f", Kind: LoaderEntry, Words: []string{"x"}}, Edit{File: "f", Kind: Extlinux, Words: []string{"x"}}
	stub := Edit{File: "f", Kind: JSONStrings, Keys: []string{"user.k"}, Words: []string{"x"}}
	for _, test := range []struct {
		name string
		edit Edit
		text string
		line int
		why  string
	}{
		{"continuation", grub, "A=1\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet \\\nsplash\"\n", 2, "goes on in the next line"},
		{"continued value", grub, "A=x\\\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n", 1, "goes on in the next line"},
		{"condition", grub, "if [ -e /x ]; then\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nfi\n", 1, "shell logic"},
		{"source", grub, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n. /etc/other\n", 2, "shell logic"},
		{"two commands", grub, "GRUB_CMDLINE_LINUX_DEFAULT=quiet; GRUB_CMDLINE_LINUX_DEFAULT=x\n", 1, "shell logic"},
		{"command", grub, "GRUB_CMDLINE_LINUX_DEFAULT=quiet true\n", 1, "goes on after the value"},
		{"variable in it", grub, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet $X\"\n", 1, "more than plain words"},
		{"quote in it", grub, `GRUB_CMDLINE_LINUX_DEFAULT="quiet x=\"a b\""` + "\n", 1, "more than plain words"},
		{"two quotes", grub, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"'x'\n", 1, "more than plain words"},
		{"twice", grub, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nA=1\nGRUB_CMDLINE_LINUX_DEFAULT=\"x\"\n", 3, "again, after line 1"},
		{"adding", grub, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX_DEFAULT+=\" x\"\n", 2, "again, after line 1"},
		{"CRLF", grub, "A=1\r\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\r\n", 1, "carriage return"},
		{"document", grub, "A=$(cat <<X\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nX\n)\n", 1, "shell logic"},
		{"substitution over lines", grub, "A=$(echo\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n)\n", 1, "does not end"},
		{"comment hides the end", grub, "A=$(echo # )\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n)\n", 1, "shell logic"},
		{"deep", grub, "A=" + strings.Repeat("$(", 50) + "\n", 1, "nested too deep"},
		{"contradiction", grub, "A=1\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet intel_iommu=off\"\n", 2, "contradicts"},
		{"contradiction in the other key", grub, "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"intel_iommu=off\"\n", 2, "contradicts"},
		{"bytes", grub, "GRUB_CMDLINE_LINUX_DEFAULT=\"\xff\"\n", 0, "no text"},
		{"escape codes", grub, "A=1\nB=\"\x1b[2J\"\n", 2, "control characters"},
		{"large", grub, strings.Repeat("#", maxFile+1), 0, "larger than"},
		{"lines", grub, strings.Repeat("\n", maxLines+1), 0, "more than"},
		{"not assigned", Edit{File: "f", Kind: ShellString, Keys: []string{"U"}, Words: []string{"x"}, Assigned: true}, "#U=\"ro\"\n", 0, "does not assign U"},
		{"two lines", cmdline, "quiet\nsplash\n", 2, "second line"},
		{"comment", cmdline, "# x\nquiet\n", 1, "is a comment"},
		{"empty", cmdline, "\n\n", 0, "is empty"},
		{"quotes", cmdline, `x="a b"`, 1, "quotes"},
		{"GRUB's variable", entry, "linux /x\noptions $kernelopts\n", 2, "variables"},
		{"no APPEND", ext, "label x\nlinux y\n", 0, "no line APPEND"},
		{"include", ext, "label x\nappend y\ninclude z\n", 3, "another file"},
		{"appends twice", ext, "label x\nappend y\nappend z\n", 3, "appends again"},
		{"no JSON", stub, "{\n \"user\": {\n  'k': []}}", 3, "not JSON"},
		{"no list", stub, `{"user": {"k": "quiet"}}`, 1, "is no list"},
		{"numbers", stub, `{"user": {"k": [1]}}`, 1, "something else than strings"},
		{"key twice", stub, `{"user": {"k": []}, "user": {"k": []}}`, 1, "twice"},
		{"not there", stub, `{"user": {}}`, 0, "has no list"},
		{"dot in a key", stub, `{"user.k": []}`, 0, "has no list"},
		{"two documents", stub, `{"user": {"k": []}} {}`, 1, "goes on after"},
		{"cut off", stub, `{"user": {"k": [`, 1, "not JSON"},
		{"deep JSON", stub, strings.Repeat("[", 100), 1, "nested too deep"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.edit.add(test.text)
			var n *NotUnderstoodError
			if !errors.As(err, &n) {
				t.Fatalf("%v\n%s", err, got)
			}
			if n.Line != test.line || !strings.Contains(n.Why, test.why) {
				t.Errorf("line %d, %q; want line %d, %q", n.Line, n.Why, test.line, test.why)
			}
			if !strings.HasPrefix(err.Error(), "/"+test.edit.File+":") {
				t.Error(err)
			}
		})
	}
}

// What an edit may add is nothing that means something to whoever reads the file.
func TestCheck(t *testing.T) {
	for _, w := range []string{"", "a b", "a\nb", `a"`, "$(x)", "a;b", "#a", "é", strings.Repeat("a", 257)} {
		if err := grubEdit(w).check(); err == nil {
			t.Errorf("%q may be added", w)
		}
	}
	for _, name := range []string{"", ".", "/etc/x", "../x", "a//b"} {
		if err := (Edit{File: name, Kind: WordLines, Words: []string{"a"}}).check(); err == nil {
			t.Errorf("%q may be changed", name)
		}
	}
	if err := (Edit{File: "f", Kind: JSONStrings, Words: []string{"a"}}).check(); err == nil {
		t.Error("no key is needed")
	}
}

// With other edits since, only the words that were added go.
func TestTakeOut(t *testing.T) {
	for _, test := range []struct {
		name                    string
		edit                    Edit
		before, now, want, left string
		gone                    bool
	}{
		{name: "another word after it", edit: grubEdit("p"), before: `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`,
			now: `GRUB_CMDLINE_LINUX_DEFAULT="quiet p nosmt"`, want: `GRUB_CMDLINE_LINUX_DEFAULT="quiet nosmt"`},
		{name: "another word before it", edit: grubEdit("p"), before: `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`,
			now: `GRUB_CMDLINE_LINUX_DEFAULT="p quiet"`, want: `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`},
		{name: "another line", edit: grubEdit("p"), before: debianGrub,
			now:  strings.NewReplacer("TIMEOUT=5", "TIMEOUT=1", "quiet splash", "quiet splash p").Replace(debianGrub),
			want: strings.Replace(debianGrub, "TIMEOUT=5", "TIMEOUT=1", 1)},
		{name: "quotes were added, too", edit: grubEdit("p"), before: "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n",
			now: "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet p\"\n# x\n", want: "GRUB_CMDLINE_LINUX_DEFAULT=quiet\n# x\n"},
		{name: "other quotes", edit: grubEdit("p"), before: "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n",
			now: "GRUB_CMDLINE_LINUX_DEFAULT='quiet p'\n", want: "GRUB_CMDLINE_LINUX_DEFAULT='quiet'\n"},
		{name: "a line was added", edit: grubEdit("p"), before: "A=1\n",
			now: "A=1\nGRUB_CMDLINE_LINUX_DEFAULT=\"p\"\nB=2\n", want: "A=1\nB=2\n"},
		{name: "a line was added, others added to it", edit: grubEdit("p"), before: "A=1\n",
			now: "GRUB_CMDLINE_LINUX_DEFAULT=\"p q\"\nA=1\n", want: "GRUB_CMDLINE_LINUX_DEFAULT=\"q\"\nA=1\n"},
		{name: "a line was added, others changed its quotes", edit: grubEdit("p"), before: "A=1\n",
			now: "GRUB_CMDLINE_LINUX_DEFAULT='p'\nA=1\n", want: "A=1\n"},
		{name: "gone", edit: grubEdit("p"), before: `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`, now: `GRUB_CMDLINE_LINUX_DEFAULT="x"`, gone: true},
		{name: "commented out", edit: grubEdit("p"), before: `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`, now: `#GRUB_CMDLINE_LINUX_DEFAULT="quiet p"`, gone: true},
		{name: "added to the other key by others", edit: grubEdit("p"), before: "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\nGRUB_CMDLINE_LINUX=\"\"\n",
			now:  "GRUB_CMDLINE_LINUX_DEFAULT=\"p x\"\nGRUB_CMDLINE_LINUX=\"p\"\n",
			want: "GRUB_CMDLINE_LINUX_DEFAULT=\"x\"\nGRUB_CMDLINE_LINUX=\"p\"\n"},
		{name: "twice", edit: grubEdit("p"), before: `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`, now: `GRUB_CMDLINE_LINUX_DEFAULT="quiet p p"`, left: "there 2 times"},
		{name: "logic", edit: grubEdit("p"), before: `GRUB_CMDLINE_LINUX_DEFAULT="quiet"`, now: "if x; then\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet p\"\nfi", left: "shell logic"},

		{name: "cmdline", edit: Edit{File: "f", Kind: WordLine, Words: []string{"p"}}, before: "quiet\n", now: "root=2 quiet p x\n", want: "root=2 quiet x\n"},
		{name: "entry", edit: Edit{File: "f", Kind: LoaderEntry, Words: []string{"p"}}, before: "linux a\noptions quiet\n",
			now: "linux b\noptions quiet p x\n", want: "linux b\noptions quiet x\n"},
		{name: "a label was copied", edit: Edit{File: "f", Kind: Extlinux, Words: []string{"p"}}, before: "label a\nappend x\n",
			now: "label b\nappend x p\nlabel a\nappend x p\n", want: "label b\nappend x p\nlabel a\nappend x\n"},
		{name: "one label had it", edit: Edit{File: "f", Kind: Extlinux, Words: []string{"p"}}, before: "label a\nappend x p\nlabel b\nappend y\n",
			now: "# c\nlabel a\nappend x p\nlabel b\nappend y z p\n", want: "# c\nlabel a\nappend x p\nlabel b\nappend y z\n"},
		{name: "JSON", edit: Edit{File: "f", Kind: JSONStrings, Keys: []string{"u"}, Words: []string{"p"}}, before: `{"u":["a"]}`,
			now: `{"u":["p", "b"], "x": 1}`, want: `{"u":[ "b"], "x": 1}`},
		{name: "JSON, two words, others after them", edit: Edit{File: "f", Kind: JSONStrings, Keys: []string{"u"}, Words: []string{"p", "q"}}, before: `{"u":[]}`,
			now: `{"u":["p","q","c"]}`, want: `{"u":["c"]}`},
		{name: "modules", edit: Edit{File: "f", Kind: WordLines, Words: []string{"p", "q"}}, before: "loop\n", now: "# c\np\nloop\nq\nz\n", want: "# c\nloop\nz\n"},
		{name: "modules, one gone", edit: Edit{File: "f", Kind: WordLines, Words: []string{"p", "q"}}, before: "loop\n", now: "loop\nq\n", want: "loop\n"},
		{name: "array", edit: Edit{File: "f", Kind: ShellArray, Keys: []string{"M"}, Words: []string{"p", "q"}}, before: "M=(a)\n", now: "M=(a p b q)\n", want: "M=(a b)\n"},
		{name: "dracut", edit: Edit{File: "f", Kind: ShellAppend, Keys: []string{"m"}, Words: []string{"p", "q"}}, before: "# c\n", now: "# c\nm+=\" p x q \"\n", want: "# c\nm+=\" x \"\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			after, err := test.edit.add(test.before)
			if err != nil {
				t.Fatal(err)
			}
			got, gone, err := test.edit.takeOut(test.before, after, test.now)
			if test.left != "" {
				if err == nil || !strings.Contains(err.Error(), test.left) {
					t.Errorf("%v\n%s", err, got)
				}
				return
			}
			if test.gone {
				test.want = test.now
			}
			if d := cmp.Diff(test.want, got); d != "" || gone != test.gone || err != nil {
				t.Errorf("gone %v, %v\n%s", gone, err, d)
			}
		})
	}
}

// FuzzEdit: what is added to a file can be taken out of it again, with or without other
// edits since, whatever the file held; it is there once, and nothing else has changed.
func FuzzEdit(f *testing.F) {
	kinds := []Edit{
		grubEdit("p=1", "q"), {File: "f", Kind: ShellAppend, Keys: []string{"a"}, Words: []string{"p=1", "q"}},
		{File: "f", Kind: ShellArray, Keys: []string{"M"}, Words: []string{"p=1", "q"}}, {File: "f", Kind: WordLine, Words: []string{"p=1", "q"}},
		{File: "f", Kind: LoaderEntry, Words: []string{"p=1", "q"}}, {File: "f", Kind: Extlinux, Words: []string{"p=1", "q"}},
		{File: "f", Kind: JSONStrings, Keys: []string{"user.kernel_options"}, Words: []string{"p=1", "q"}}, {File: "f", Kind: WordLines, Words: []string{"p=1", "q"}},
	}
	for _, s := range []struct {
		kind int
		text string
	}{
		{0, debianGrub}, {0, fedoraGrub}, {0, "GRUB_CMDLINE_LINUX_DEFAULT=quiet"}, {0, ""}, {1, "# c\na+=\" x \""}, {2, "MODULES=(a)\nM=( b )\n"}, {3, "root=1 quiet\r\n"},
		{4, "title x\nlinux /y\noptions a b\n"}, {5, extlinuxConf}, {6, kernelstubJSON}, {6, `{"user":{"kernel_options":["a" , "b"]}}`}, {7, "# x\nloop\nvfio a=b"},
	} {
		f.Add(s.kind, s.text)
	}
	f.Fuzz(func(t *testing.T, kind int, text string) {
		e := kinds[uint(kind)%uint(len(kinds))]
		after, err := e.add(text)
		if err != nil || after == text {
			return
		}
		back, gone, err := e.takeOut(text, after, after)
		if err != nil || gone {
			t.Fatalf("%q: added as %q, and then gone %v, %v", text, after, gone, err)
		}
		if back != text && back != text+newlineAfter(text) {
			t.Fatalf("%q came back as %q", text, back)
		}
		// A comment was added by others, in the kinds that have some.
		if e.Kind == JSONStrings || e.Kind == WordLine {
			return
		}
		const more = "# of others\n"
		back, _, err = e.takeOut(text, after, more+after)
		if err != nil || back != more+text && back != more+text+newlineAfter(text) {
			t.Fatalf("%q came back as %q, %v", more+text, back, err)
		}
	})
}

// Nothing that a file may hold panics the parsers, and a record is as strictly read.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"file":"etc/x","kind":"word-lines","keys":null,"words":["a"],"before":"","after":"YQo="}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), "000001.json")
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := readRecord(name)
		if err != nil {
			return
		}
		_, _ = undo(&file{name: r.File, exists: true, text: "x y\n"}, r)
	})
}

// TestUndoOf takes back what was made for one purpose, and keeps the rest.
func TestUndoOf(t *testing.T) {
	files, _ := everything()
	e := scratch(t, files)
	apply(t, e, grubEdit("p"))
	before := state(t, e.Root)
	apply(t, e, Edit{File: "etc/default/grub", Kind: ShellString, Keys: []string{"GRUB_CMDLINE_LINUX_DEFAULT"}, Words: []string{"q"}, For: "another"})
	c, err := e.PrepareUndo(func(r Record) bool { return r.For == "another" })
	if err == nil {
		err = e.Undo(c)
	}
	if after := state(t, e.Root); err != nil || !maps.Equal(before, after) {
		t.Errorf("%v\n%v\n%v", err, before, after)
	}
}
