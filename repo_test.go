// Package indy_test tests the repository itself: its layers, its documentation and
// its house rules. Each failure says why the rule is there.
package indy_test

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/project-independence/indy"

// mayImport says which packages of this module each package may import: the arrows
// of DESIGN, from top to bottom. Packages that do not exist yet have their row, too.
func mayImport() map[string][]string {
	bus := []string{"hostfs", "internal/ids", "internal/ioctl", "internal/plain"}
	facts := append([]string{"pci", "usb"}, bus...)
	host := append([]string{"gpu", "audio", "iommu", "vfio"}, facts...)
	joined := append([]string{"laptop"}, host...)
	guest := []string{"guest", "guest/image", "guest/qmp", "pci", "usb"}
	below := append(append([]string{"policy", "assign", "vault", "guest/qemu", "guest/store", "guest/export"}, joined...), guest...)
	return map[string][]string{
		"hostfs":              {},
		"hostfs/importer":     {"hostfs", "internal/plain"},
		"uevent":              {"internal/plain"}, // a socket of the kernel's, no host path
		"internal/ioctl":      {},
		"internal/plain":      {},
		"internal/vflink":     {"hostfs", "pci"},  // sockets of rtnetlink, shown as files of the host
		"internal/picture":    {"internal/plain"}, // it draws what it is given, and knows no hardware
		"internal/ids":        {"pci"},            // for pci.ID, which is what it looks up; pci does without names
		"pci":                 {"hostfs", "internal/ioctl", "internal/plain"},
		"usb":                 append([]string{"pci"}, bus...),
		"usb/live":            facts,
		"gpu":                 facts,
		"audio":               facts,
		"iommu":               facts,
		"vfio":                append([]string{"iommu"}, facts...),
		"laptop":              append([]string{"guest"}, host...), // what a guest needs is resolved to its devices; guest is data, and knows no host
		"policy":              joined,
		"assign":              append([]string{"internal/journal", "uevent"}, joined...),
		"internal/journal":    {},
		"guest":               {"pci", "usb"},
		"guest/image":         {},        // bytes of others, read by nothing else
		"guest/store":         {"guest"}, // files of definitions, by the name it is given
		"guest/qmp":           {},
		"guest/qmp/qmptest":   {"guest/qmp"},
		"guest/qemu":          append([]string{"internal/jail"}, guest...), // whose stage it starts QEMU by
		"internal/jail":       {},                                          // it runs as root: nothing of ours but what it is made of
		"guest/export":        {"guest", "pci", "usb"},
		"vault":               {"guest", "pci", "usb"},
		"internal/sim":        {"hostfs", "pci", "usb", "iommu"},
		"internal/hostedit":   {},                                                                       // files of the host's own configuration, no device
		"internal/doctor":     append([]string{"assign", "internal/hostedit", "guest/qemu"}, joined...), // guest/qemu knows which files it needs
		"internal/earlybind":  {"hostfs", "pci", "internal/doctor", "internal/hostedit"},
		"internal/lab":        below,
		"internal/daemon":     append([]string{"internal/runner", "internal/power", "uevent"}, below...),
		"internal/broker":     below,
		"internal/power":      {"guest", "hostfs", "pci", "internal/runner"},
		"internal/wire":       {},
		"internal/privsep":    {"guest", "guest/store", "internal/daemon", "internal/runner", "internal/wire"}, // what the daemon asks root
		"internal/keeper":     {"guest", "guest/qemu", "internal/runner", "internal/wire"},                     // what is held, and how, others say
		"internal/logindtest": {"internal/hosttest"},
		"internal/runner":     {"guest", "guest/qemu", "guest/qmp"}, // runs what it is given; which devices, and how they are assigned, others say
		"internal/cli":        append([]string{"hostfs/importer", "uevent", "internal/daemon", "internal/broker", "internal/keeper", "internal/privsep", "internal/runner", "internal/power", "internal/sim", "internal/lab", "internal/doctor", "internal/earlybind", "internal/hostedit", "internal/picture", "internal/vflink", "internal/jail"}, below...),
		"cmd/indy":            {"internal/cli"},
		"cmd/indy-jail":       {"internal/jail"}, // started as root before each QEMU: nothing but the stage
		"internal/hosttest":   {"hostfs"},
		"internal/testscript": {},
		// Helpers of tests, which only tests import.
		"internal/lab/labtest":         {"internal/lab", "internal/hosttest"},
		"internal/journal/journaltest": {"internal/journal"},
		"internal/fakehost":            {"internal/ioctl", "internal/sim"},
		"bench":                        {},
		"bench/gensysfs":               {},
		"bench/internal/peers":         {"hostfs"},
		"bench/enumerate":              {"bench/internal/peers", "hostfs", "pci", "uevent"},
		"bench/bind":                   {"bench/internal/peers", "hostfs", "pci", "laptop", "assign", "vfio", "internal/lab"},
		"bench/start":                  append([]string{"bench/internal/peers", "internal/runner"}, below...),
		// Programs that show how the library is used by others.
		"examples/edu": {"pci", "vfio", "assign", "hostfs", "iommu"},
	}
}

const layers = "imports go one way, from the command down to hostfs, so that each part can be used alone; " +
	"a new package gets its row in mayImport"

// onlyIn says which packages alone may import or name something, and why. A name
// ending in / stands for all below it.
var onlyIn = []struct {
	what  string // import path, or import path and name as os.Exit; * ends a prefix
	where string // packages, separated by blanks
	why   string
}{
	{"github.com/spf13/*", "internal/cli", "only internal/cli knows words and flags; a library does not parse a command line"},
	{"github.com/jaypipes/*", "laptop bench/", "ghw says what a machine is as a whole; PCI and USB enumeration are ours, because that is what the project is for"},
	{"github.com/vishvananda/*", "internal/vflink", "what rtnetlink says of virtual functions is read and written as files; nothing else of ours speaks rtnetlink"},
	{"github.com/goccy/*", "guest", "what people write as YAML is read in one place, strictly"},
	{"github.com/danielgtaylor/*", "internal/daemon", "huma is how the daemon's API is read, checked and documented; nothing else has an API"},
	{"github.com/godbus/*", "internal/power internal/logindtest internal/cli", "logind is spoken to in one place, which knows whose signals to believe; the command has systemd make a scope for a guest"},
	{"github.com/coreos/*", "internal/cli", "what systemd hands over comes by the environment, which only the command reads"},
	{"github.com/google/gousb", "usb/live", "gousb needs cgo; all else builds without"},
	{"unsafe", "internal/ioctl", "what can break memory safety is in one small place that everybody can review"},
	{"C", "usb/live", "all but what needs an open USB device builds with CGO_ENABLED=0"},
	{"os/exec", "guest/qemu internal/lab internal/lab/labtest internal/hosttest internal/fakehost internal/logindtest internal/broker bench/", "programs are run in few places, where their arguments are built with care"},
	{"log", "", "libraries do not log; they return findings and errors"},
	{"os.Exit", "internal/cli cmd/indy cmd/indy-jail bench/ examples/", "only the command knows exit codes; a library returns an error"},
	{"os.Getenv", "internal/cli" + testHelpers, "a parameter from the environment is invisible; only the command reads it"},
	{"os.LookupEnv", "internal/cli" + testHelpers, "a parameter from the environment is invisible; only the command reads it"},
	{"os.Environ", "internal/cli" + testHelpers, "a parameter from the environment is invisible; only the command reads it"},
	{"os.StartProcess", "", "programs are run by os/exec, in few places"},
	{"fmt.Print*", "internal/cli bench/", "only the command prints; a library returns what it has to say"},
	{"github.com/hanwen/go-fuse/*", "internal/fakehost", "file systems in user space are for tests"},
	{module + "/internal/fakehost", "", "helpers of tests do not belong in a program"},
	{module + "/internal/sim", "internal/cli internal/fakehost", "the simulated kernel is for tests, and for trying a plan on a saved machine"},
	{module + "/internal/hosttest", "internal/lab/labtest internal/logindtest", "helpers of tests do not belong in a program"},
	{module + "/internal/testscript", "", "helpers of tests do not belong in a program"},
	{module + "/internal/lab/labtest", "", "helpers of tests do not belong in a program"},
	{module + "/internal/journal/journaltest", "", "helpers of tests do not belong in a program"},
	{"testing", strings.TrimSpace(testHelpers), "helpers of tests do not belong in a program"},
}

const testHelpers = " internal/hosttest internal/fakehost internal/testscript internal/lab/labtest guest/qmp/qmptest internal/logindtest"

// A goFile is one parsed file; dir is its directory, path its name in the repository.
type goFile struct {
	path, dir string
	test      bool
	*ast.File
	lines   int
	imports map[string]string // by the name the file uses
}

type repository struct {
	t     *testing.T
	fset  *token.FileSet
	files map[string][]byte // all that is or may be committed
	goes  []*goFile
}

// readRepository reads all files that .gitignore does not leave out.
func readRepository(t *testing.T) *repository {
	t.Helper()
	r := &repository{t: t, fset: token.NewFileSet(), files: map[string][]byte{}}
	ignored := map[string]bool{".git": true}
	text, err := os.ReadFile(".gitignore")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "/"); ok {
			ignored[strings.TrimSuffix(name, "/")] = true
		}
	}
	err = fs.WalkDir(os.DirFS("."), ".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case ignored[name] && e.IsDir():
			return fs.SkipDir
		case ignored[name] || !e.Type().IsRegular() || strings.HasSuffix(name, ".test") || strings.HasSuffix(name, ".prof"):
			return nil
		}
		data, err := os.ReadFile(name)
		r.files[name] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		if !strings.HasSuffix(name, ".go") || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		parsed, err := parser.ParseFile(r.fset, name, r.files[name], parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		f := &goFile{path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"), File: parsed,
			lines: bytes.Count(r.files[name], []byte("\n")), imports: map[string]string{}}
		for _, spec := range parsed.Imports {
			from, _ := strconv.Unquote(spec.Path.Value)
			as := path.Base(from)
			if spec.Name != nil {
				as = spec.Name.Name
			}
			f.imports[as] = from
		}
		r.goes = append(r.goes, f)
	}
	return r
}

func (r *repository) errorf(at token.Pos, format string, args ...any) {
	r.t.Helper()
	p := r.fset.Position(at)
	r.t.Errorf("%s:%d: "+format, append([]any{p.Filename, p.Line}, args...)...)
}

// packages returns the files without tests, by directory.
func (r *repository) packages() map[string][]*goFile {
	all := map[string][]*goFile{}
	for _, f := range r.goes {
		if !f.test {
			all[f.dir] = append(all[f.dir], f)
		}
	}
	return all
}

func TestImports(t *testing.T) {
	r := readRepository(t)
	table := mayImport()
	for dir, files := range r.packages() {
		allowed, ok := table[dir]
		if !ok {
			t.Errorf("%s: no row in mayImport: %s", dir, layers)
			continue
		}
		for _, f := range files {
			for _, spec := range f.Imports {
				from, _ := strconv.Unquote(spec.Path.Value)
				if own, ok := strings.CutPrefix(from, module+"/"); ok && !slices.Contains(allowed, own) {
					r.errorf(spec.Pos(), "%s imports %s: %s", dir, own, layers)
				}
			}
		}
	}
}

func TestOnlyIn(t *testing.T) {
	r := readRepository(t)
	for _, f := range r.goes {
		if f.test {
			continue
		}
		for _, spec := range f.Imports {
			from, _ := strconv.Unquote(spec.Path.Value)
			r.only(f, spec.Pos(), from)
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			if from, name, ok := f.named(n); ok {
				r.only(f, n.Pos(), from+"."+name)
			}
			return true
		})
	}
}

// named returns what of another package an expression names.
func (f *goFile) named(n ast.Node) (from, name string, ok bool) {
	s, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return "", "", false
	}
	from, ok = f.imports[x.Name]
	return from, s.Sel.Name, ok
}

func (r *repository) only(f *goFile, at token.Pos, what string) {
	for _, rule := range onlyIn {
		prefix, any := strings.CutSuffix(rule.what, "*")
		if what != rule.what && !(any && strings.HasPrefix(what, prefix)) {
			continue
		}
		if !slices.ContainsFunc(strings.Fields(rule.where), func(dir string) bool {
			return f.dir == dir || strings.HasSuffix(dir, "/") && strings.HasPrefix(f.dir+"/", dir)
		}) {
			r.errorf(at, "%s uses %s, allowed in: %s: %s", f.dir, what, cmp.Or(strings.TrimSpace(rule.where), "no package"), rule.why)
		}
	}
}

// TestHostPaths looks for calls that open a file of the host by a name that begins
// with a literal or a constant of the package.
func TestHostPaths(t *testing.T) {
	r := readRepository(t)
	isHost := regexp.MustCompile(`^"/(sys|proc|dev|etc)(/|"$)`)
	opens := regexp.MustCompile(`^(os|syscall|golang\.org/x/sys/unix)\.(Open|OpenFile|Openat|Openat2|ReadFile|WriteFile|Create|ReadDir|Stat|Lstat|Readlink|DirFS|OpenRoot)$`)
	for dir, files := range r.packages() {
		if dir == "hostfs" || dir == "vfio" || dir == "internal/fakehost" { // the last builds a host on this one
			continue
		}
		constants := map[string]bool{}
		for _, f := range files {
			ast.Inspect(f.File, func(n ast.Node) bool {
				if s, ok := n.(*ast.ValueSpec); ok {
					for i, v := range s.Values {
						if lit, ok := v.(*ast.BasicLit); ok && isHost.MatchString(lit.Value) && i < len(s.Names) {
							constants[s.Names[i].Name] = true
						}
					}
				}
				return true
			})
		}
		for _, f := range files {
			switch {
			case f.path == "guest/qemu/kvm.go":
				continue // hands /dev/kvm to a QEMU that may not open it, as it does with disks
			case f.path == "guest/qemu/seal.go":
				continue // says that this host lacks the TPM that systemd-creds is about to open; no saved machine opens disks
			case f.dir == "internal/jail" || strings.HasPrefix(f.path, "guest/qemu/jail"):
				continue // says which of the running host's own files QEMU sees; no saved machine runs guests
			}
			ast.Inspect(f.File, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				from, name, ok := f.named(call.Fun)
				if !ok || !opens.MatchString(from+"."+name) {
					return true
				}
				for _, arg := range call.Args {
					ast.Inspect(arg, func(n ast.Node) bool {
						lit, isLit := n.(*ast.BasicLit)
						id, isName := n.(*ast.Ident)
						if isLit && isHost.MatchString(lit.Value) || isName && constants[id.Name] {
							r.errorf(call.Pos(), "%s opens a path of the host: only hostfs and vfio do, so that a saved machine can stand in for it", dir)
						}
						return true
					})
				}
				return true
			})
		}
	}
}

func TestPackageComments(t *testing.T) {
	for dir, files := range readRepository(t).packages() {
		var with []string
		for _, f := range files {
			if f.Doc != nil {
				with = append(with, f.path)
			}
		}
		if len(with) != 1 {
			t.Errorf("%s: %d files have a package comment (%s): one has it, so that there is one place to read what the package is for",
				dir, len(with), strings.Join(with, ", "))
		}
	}
}

func TestDocComments(t *testing.T) {
	r := readRepository(t)
	missing := func(at token.Pos, name string) {
		r.errorf(at, "%s has no comment: what others may use says what it does", name)
	}
	for _, f := range r.goes {
		if f.test {
			continue
		}
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc == nil && exportedReceiver(d) {
					missing(d.Pos(), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						if s.Name.IsExported() && s.Doc == nil && d.Doc == nil {
							missing(s.Pos(), s.Name.Name)
						}
					case *ast.ValueSpec:
						for _, name := range s.Names {
							if name.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
								missing(name.Pos(), name.Name)
							}
						}
					}
				}
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	x := d.Recv.List[0].Type
	for {
		switch t := x.(type) {
		case *ast.StarExpr:
			x = t.X
		case *ast.IndexExpr:
			x = t.X
		case *ast.IndexListExpr:
			x = t.X
		case *ast.Ident:
			return t.IsExported()
		default:
			return true
		}
	}
}

// TestPackageState allows of what a package holds as a whole: errors, tables that
// nobody writes, embedded files, values computed once on first use, and var _.
func TestPackageState(t *testing.T) {
	r := readRepository(t)
	const why = "state of a package keeps tests from running side by side, and work at start-up is paid by every run of indy; " +
		"make it a constant, a parameter, a function, or sync.OnceValue"
	written := map[string]map[string]bool{}
	for _, f := range r.goes {
		if written[f.dir] == nil {
			written[f.dir] = map[string]bool{}
		}
		ast.Inspect(f.File, func(n ast.Node) bool {
			var targets []ast.Expr
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					targets = n.Lhs
				}
			case *ast.IncDecStmt:
				targets = []ast.Expr{n.X}
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					targets = []ast.Expr{n.X}
				}
			case *ast.CallExpr:
				if id, ok := n.Fun.(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") {
					targets = n.Args
				}
			}
			for _, x := range targets {
				written[f.dir][root(x)] = true
			}
			return true
		})
	}
	for _, f := range r.goes {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == "init" {
				r.errorf(d.Pos(), "a function init: %s", why)
			}
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR || f.test {
				continue
			}
			for _, spec := range g.Specs {
				s := spec.(*ast.ValueSpec)
				for i, name := range s.Names {
					switch {
					case !f.allowedVar(g, s, i):
						r.errorf(name.Pos(), "var %s: %s", name.Name, why)
					case name.Name != "_" && written[f.dir][name.Name]:
						r.errorf(name.Pos(), "var %s is written, or its address taken: %s", name.Name, why)
					}
				}
			}
		}
	}
}

// root returns the variable at the beginning of a.b[c].d.
func root(x ast.Expr) string {
	for {
		switch t := x.(type) {
		case *ast.SelectorExpr:
			x = t.X
		case *ast.IndexExpr:
			x = t.X
		case *ast.StarExpr:
			x = t.X
		case *ast.ParenExpr:
			x = t.X
		case *ast.Ident:
			return t.Name
		default:
			return ""
		}
	}
}

func (f *goFile) allowedVar(g *ast.GenDecl, s *ast.ValueSpec, i int) bool {
	name := s.Names[i].Name
	for _, doc := range []*ast.CommentGroup{g.Doc, s.Doc} {
		if doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") }) {
			return true
		}
	}
	switch {
	case name == "_":
		return true
	case f.dir == "cmd/indy" && name == "version": // set by the linker
		return true
	case i >= len(s.Values):
		return false
	}
	if call, ok := s.Values[i].(*ast.CallExpr); ok {
		from, made, _ := f.named(call.Fun)
		switch from + "." + made {
		case "errors.New", "fmt.Errorf":
			return strings.HasPrefix(strings.ToLower(name), "err")
		case "sync.OnceValue", "sync.OnceValues":
			return true
		}
		return false
	}
	return isTable(s.Values[i])
}

// isTable reports whether a value is the literal of a table that holds no function
// and needs none to be made.
func isTable(x ast.Expr) bool {
	lit, ok := x.(*ast.CompositeLit)
	if !ok {
		return false
	}
	pure := true
	ast.Inspect(lit, func(n ast.Node) bool {
		switch n.(type) {
		case *ast.FuncLit, *ast.CallExpr:
			pure = false
		}
		return pure
	})
	return pure
}

func TestFiles(t *testing.T) {
	r := readRepository(t)
	unfinished := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)
	private := regexp.MustCompile("(^|[\\s\"'`=(:])/(wo" + "rk|fa" + "rm)/")
	for name, data := range r.files {
		if len(data) >= 1<<20 {
			t.Errorf("%s has %d bytes: what is above 1 MiB makes every clone slow; make it, or fetch it when it is needed", name, len(data))
		}
		if bytes.IndexByte(data, 0) >= 0 {
			continue
		}
		n := 0
		for line := range bytes.Lines(data) {
			n++
			if unfinished.Match(line) && !strings.Contains("/"+name, "/testdata/") {
				t.Errorf("%s:%d: %s: what is open belongs in an issue, where somebody finds it", name, n, unfinished.Find(line))
			}
			if private.Match(line) {
				t.Errorf("%s:%d: %s: a path of one developer's machine says nothing to others", name, n, bytes.TrimSpace(private.Find(line)))
			}
		}
	}
	for _, f := range r.goes {
		if f.lines > 700 {
			t.Errorf("%s has %d lines: what is above 700 does more than one thing; split it", f.path, f.lines)
		}
	}
	if n := bytes.Count(r.files["cmd/indy/main.go"], []byte("\n")); n == 0 || n > 20 {
		t.Errorf("cmd/indy/main.go has %d lines, at most 20 are allowed: what the command does is in internal/cli, where it can be tested", n)
	}
	if !bytes.Contains(r.files["LICENSE"], []byte("Apache License")) {
		t.Error("LICENSE is not the Apache License: without it nobody may use this")
	}
	for line := range bytes.Lines(r.files["go.mod"]) {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("replace")) {
			t.Errorf("go.mod: %s: with a replacement, go install of a release builds something else, or fails", bytes.TrimSpace(line))
		}
	}
}

func TestSkips(t *testing.T) {
	r := readRepository(t)
	for _, f := range r.goes {
		ast.Inspect(f.File, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			s, ok := call.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if s.Sel.Name == "SkipNow" || s.Sel.Name == "Skip" && len(call.Args) == 0 {
				r.errorf(call.Pos(), "a test is skipped without a reason: who reads the log cannot tell what is missing")
			}
			return true
		})
	}
}

func TestExamples(t *testing.T) {
	r := readRepository(t)
	has := map[string]bool{}
	for _, f := range r.goes {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && f.test && d.Recv == nil && strings.HasPrefix(d.Name.Name, "Example") {
				has[f.dir] = true
			}
		}
	}
	for dir := range r.packages() {
		if slices.Contains(strings.Fields(testHelpers), dir) {
			continue // an Example has no testing.T to give them
		}
		public := !strings.HasPrefix(dir, "internal/") && !strings.HasPrefix(dir, "cmd/") && !strings.HasPrefix(dir+"/", "bench/") && !strings.HasPrefix(dir, "examples/")
		if public && !has[dir] {
			t.Errorf("%s has no Example: who wants to use it looks for one first", dir)
		}
	}
}
