package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is how many columns help takes: those that every terminal has.
const helpWidth = 80

// writeHelp says what a command does, as cobra does, but in lines that fit.
func writeHelp(w io.Writer, cmd *cobra.Command) {
	var b strings.Builder
	b.WriteString(filled(or(cmd.Long, cmd.Short), helpWidth))
	b.WriteString("\n\n")
	writeUsage(&b, cmd)
	_, _ = io.WriteString(w, b.String())
}

func writeUsage(w io.Writer, cmd *cobra.Command) {
	fmt.Fprintln(w, "Usage:")
	line := cmd.UseLine()
	if cmd.HasAvailableSubCommands() {
		line = cmd.CommandPath() + " COMMAND"
	}
	writeWrapped(w, "  ", 2, helpWidth, line)
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintln(w, "\nCommands:")
		width := 0
		for _, c := range cmd.Commands() {
			if !c.Hidden {
				width = max(width, len(c.Name()))
			}
		}
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() || c.Name() == "help" {
				lead := fmt.Sprintf("  %-*s  ", width, c.Name())
				writeWrapped(w, lead, len(lead), helpWidth, c.Short)
			}
		}
	}
	if cmd.HasAvailableLocalFlags() {
		fmt.Fprintf(w, "\nFlags:\n%s\n", strings.TrimRight(cmd.LocalFlags().FlagUsagesWrapped(helpWidth), "\n"))
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(w, "\n\"%s help COMMAND\" says more of one.\n", cmd.Root().Name())
	}
}

// filled breaks paragraphs into lines of so many columns. Lines that are set off stay
// as they are.
func filled(text string, width int) string {
	var b strings.Builder
	var paragraph []string
	end := func() {
		if len(paragraph) > 0 {
			writeWrapped(&b, "", 0, width, strings.Join(paragraph, " "))
		}
		paragraph = nil
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		if line != "" && line[0] != ' ' && line[0] != '\t' {
			paragraph = append(paragraph, line)
			continue
		}
		end()
		b.WriteString(line + "\n")
	}
	end()
	return strings.TrimRight(b.String(), "\n")
}

// usage makes an arguments check blame the user's words, and say what was expected.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check(cmd, args) == nil {
			return nil
		}
		expected := strings.TrimSuffix(cmd.UseLine(), " [flags]")
		if len(args) == 0 {
			return usageError{fmt.Errorf("nothing is named; expected: %s", expected)}
		}
		return usageError{fmt.Errorf("too many words, %q the last; expected: %s", args[len(args)-1], expected)}
	}
}

// flagError blames the user's flags, in words for people.
func flagError(_ *cobra.Command, err error) error {
	value, ok := err.(interface {
		error
		GetValue() string
		Unwrap() error
	})
	if !ok || value.Unwrap() == nil {
		return usageError{err}
	}
	why := value.Unwrap().Error()
	said := strings.TrimSuffix(value.Error(), ": "+why)
	switch {
	case strings.HasPrefix(why, "time: "):
		why = "expected a time such as 30s or 5m"
	case strings.HasPrefix(why, "strconv.ParseBool"):
		why = "expected true or false"
	case strings.HasPrefix(why, "strconv."):
		why = "expected a whole number"
	}
	return usageError{errors.New(said + ": " + why)}
}
