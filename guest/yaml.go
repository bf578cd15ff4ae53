package guest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds of the text of a definition. The parser's effort grows with the square of
// the depth, so that is bounded before the parser sees any.
const (
	MaxDefinition = 64 << 10 // bytes
	maxLine       = 4096
	maxTokens     = 8192
	maxDepth      = 8
)

// A node is a value of a YAML document, of which only this is let in: mappings with
// scalars as keys, sequences, and scalars on one line.
type node struct {
	kind    nodeKind
	pos     position
	text    string // of a scalar
	quoted  bool   // a scalar in quotes, which is always text
	typed   string // what YAML takes a scalar without quotes for, empty if that is text
	entries []entry
	items   []*node
}

type nodeKind int

const (
	scalarNode nodeKind = iota
	mappingNode
	sequenceNode
	nullNode
)

func (k nodeKind) String() string {
	return [...]string{"a single value", "fields in a mapping", "a list", "nothing"}[k]
}

type entry struct{ key, value *node }

// A position is a line and a column, counted from 1, the column in characters.
type position struct{ line, column int }

// A yamlError is what makes a text no document, and where.
type yamlError struct {
	position
	reason string
}

func (e *yamlError) Error() string { return fmt.Sprintf("%d:%d: %s", e.line, e.column, e.reason) }

// parseYAML reads one document. Errors are *yamlError.
func parseYAML(text []byte) (root *node, lines []string, err error) {
	if len(text) > MaxDefinition {
		return nil, nil, &yamlError{reason: fmt.Sprintf("%d bytes are more than the %d that a definition may have", len(text), MaxDefinition)}
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	lines = strings.Split(string(text), "\n")
	if err := checkLines(lines); err != nil {
		return nil, lines, err
	}
	// The parser is not ours, and what it reads may be anybody's.
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, &yamlError{position{1, 1}, fmt.Sprintf("the parser gives up: %.100v", p)}
		}
	}()
	if err := checkTokens(lexer.Tokenize(string(text))); err != nil {
		return nil, lines, err
	}
	file, perr := parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
	if perr != nil {
		return nil, lines, syntaxError(perr)
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return nil, lines, &yamlError{position{1, 1}, "nothing is defined; expected fields such as name: work"}
	}
	if len(file.Docs) > 1 {
		return nil, lines, &yamlError{position{1, 1}, "there are several documents; expected one"}
	}
	c := converter{lines}
	root, err = c.node(file.Docs[0].Body, 0)
	return root, lines, err
}

// checkLines lets only printable characters and line ends pass.
func checkLines(lines []string) error {
	for i, line := range lines {
		if len(line) > maxLine {
			return &yamlError{position{i + 1, 1}, fmt.Sprintf("the line has %d bytes, more than %d", len(line), maxLine)}
		}
		column := 0
		for _, r := range line {
			column++
			switch {
			case r == '\t':
				return &yamlError{position{i + 1, column}, "a tab; expected spaces"}
			case r == utf8.RuneError:
				return &yamlError{position{i + 1, column}, "not UTF-8"}
			case !unicode.IsPrint(r):
				return &yamlError{position{i + 1, column}, fmt.Sprintf("the character %U, which cannot be seen", r)}
			}
		}
	}
	return nil
}

// checkTokens refuses what a definition has no use for, and what would keep the parser
// busy.
func checkTokens(tokens token.Tokens) error {
	if len(tokens) > maxTokens {
		return &yamlError{position{1, 1}, fmt.Sprintf("%d words and signs are more than %d", len(tokens), maxTokens)}
	}
	flow, line, dashes := 0, 0, 0
	for i, t := range tokens {
		bad := func(format string, args ...any) error {
			return &yamlError{at(t), fmt.Sprintf(format, args...)}
		}
		switch t.Type {
		case token.AnchorType, token.AliasType:
			return bad("anchors and aliases are not allowed; write the value where it is wanted, in quotes if it begins with & or *")
		case token.MergeKeyType:
			return bad("merge keys are not allowed; write the fields where they are wanted")
		case token.TagType:
			return bad("tags are not allowed; write the value in quotes if it begins with !")
		case token.DirectiveType:
			return bad("directives are not allowed")
		case token.LiteralType, token.FoldedType:
			return bad("blocks of lines are not allowed; expected one line")
		case token.MappingKeyType:
			return bad("keys with ? are not allowed; expected name: value")
		case token.DocumentHeaderType:
			if i > 0 {
				return bad("there are several documents; expected one")
			}
		case token.DocumentEndType:
			return bad("the end of a document is not marked; expected nothing")
		case token.InvalidType:
			return bad("not YAML: %.100s", t.Error)
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		case token.SequenceEntryType:
			if t.Position.Line != line {
				line, dashes = t.Position.Line, 0
			}
			dashes++
		}
		if flow > maxDepth || dashes > maxDepth {
			return bad("more than %d levels deep", maxDepth)
		}
	}
	return nil
}

func at(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{1, 1}
	}
	return position{max(t.Position.Line, 1), max(t.Position.Column, 1)}
}

func syntaxError(err error) error {
	var located interface {
		error
		GetMessage() string
		GetToken() *token.Token
	}
	if errors.As(err, &located) {
		return &yamlError{at(located.GetToken()), "not YAML: " + located.GetMessage()}
	}
	return &yamlError{position{1, 1}, fmt.Sprintf("not YAML: %.200v", err)}
}

// A converter makes nodes of what the parser has read.
type converter struct{ lines []string }

func (c *converter) node(n ast.Node, depth int) (*node, error) {
	if n == nil {
		return &node{kind: nullNode, pos: position{1, 1}}, nil
	}
	pos := at(n.GetToken())
	if depth > maxDepth {
		return nil, &yamlError{pos, fmt.Sprintf("more than %d levels deep", maxDepth)}
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return c.mapping(pos, n.IsFlowStyle, n.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(pos, false, []*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		made := &node{kind: sequenceNode, pos: pos}
		for _, v := range n.Values {
			item, err := c.node(v, depth+1)
			if err != nil {
				return nil, err
			}
			if item.kind == nullNode && item.pos.line <= len(c.lines) {
				item.pos.column = max(1, min(item.pos.column, utf8.RuneCountInString(c.lines[item.pos.line-1]))) // the parser has what would follow
			}
			made.items = append(made.items, item)
		}
		return made, nil
	case *ast.NullNode:
		if n.Token.Type == token.ImplicitNullType {
			return &node{kind: nullNode, pos: pos}, nil
		}
		return c.scalar(pos, n.Token, "null")
	case *ast.StringNode:
		return c.scalar(pos, n.Token, "")
	case *ast.BoolNode:
		return c.scalar(pos, n.Token, "true or false")
	case *ast.IntegerNode:
		return c.scalar(pos, n.Token, "a number")
	case *ast.FloatNode:
		return c.scalar(pos, n.Token, "a number")
	case *ast.InfinityNode:
		return c.scalar(pos, n.Token, "a number")
	case *ast.NanNode:
		return c.scalar(pos, n.Token, "a number")
	}
	return nil, &yamlError{pos, "not allowed in a definition"}
}

func (c *converter) mapping(pos position, flow bool, values []*ast.MappingValueNode, depth int) (*node, error) {
	made := &node{kind: mappingNode, pos: pos}
	for i, v := range values {
		key, err := c.node(v.Key, depth+1)
		if err != nil {
			return nil, err
		}
		if key.kind != scalarNode {
			return nil, &yamlError{key.pos, "the name of a field is missing; expected name: value"}
		}
		if i == 0 && !flow {
			made.pos = key.pos // the parser has that of the colon
		}
		for _, e := range made.entries {
			if e.key.text == key.text {
				return nil, &yamlError{key.pos, fmt.Sprintf("%s is given twice, first in line %d", quote(key.text), e.key.pos.line)}
			}
		}
		value, err := c.node(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if value.kind == nullNode {
			value.pos = key.pos
		}
		made.entries = append(made.entries, entry{key, value})
	}
	return made, nil
}

// scalar makes a node of a value that stands on one line. The parser joins lines; what it
// made of several is not what is in any.
func (c *converter) scalar(pos position, t *token.Token, typed string) (*node, error) {
	made := &node{pos: pos, text: t.Value, typed: typed}
	rest := ""
	if pos.line <= len(c.lines) {
		if line := []rune(c.lines[pos.line-1]); pos.column <= len(line) {
			rest = string(line[pos.column-1:])
		}
	}
	one := true
	switch t.Type {
	case token.DoubleQuoteType, token.SingleQuoteType:
		made.quoted = true
		one = closed(rest)
	default:
		one = strings.HasPrefix(rest, t.Value)
	}
	if !one {
		return nil, &yamlError{pos, "the value goes on in the next line; expected one line"}
	}
	return made, nil
}

// closed reports whether the text in quotes at the beginning of s ends in it.
func closed(s string) bool {
	if s == "" {
		return false
	}
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote == '"':
			i++
		case s[i] == quote && quote == '\'' && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return true
		}
	}
	return false
}
