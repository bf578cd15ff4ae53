package plain_test

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

func Example() {
	product := "  Webcam\r\n\x1b[31m C930e  "
	fmt.Println(plain.Line(product, 126))
	fmt.Println(plain.Line(product, 8))
	fmt.Println(plain.Printable("HID_NAME=Pad\x1b[2J"))
	fmt.Println(len(plain.Short(strings.Repeat("x", 4096))))
	// Output:
	// Webcam [31m C930e
	// Webcam [
	// HID_NAME=Pad�[2J
	// 67
}
