package guest

import (
	"errors"
	"fmt"
)

// Graphics is what a guest draws with.
type Graphics int

// The graphics.
const (
	NoGraphics Graphics = iota
	// VirtIOGPU draws in two dimensions, at any size of a window. Where the guest has
	// no driver for it, it is as good as StdVGA.
	VirtIOGPU
	// VirGL is VirtIOGPU that draws in three dimensions with the host's GPU. What the
	// guest draws is then carried out by the host's OpenGL driver: it is for guests
	// that are trusted.
	VirGL
	// StdVGA is a plain frame buffer, for guests that get on with nothing else.
	StdVGA
)

// String returns "none", "virtio", "virgl" or "std".
func (g Graphics) String() string {
	switch g {
	case NoGraphics:
		return "none"
	case VirtIOGPU:
		return "virtio"
	case VirGL:
		return "virgl"
	case StdVGA:
		return "std"
	}
	return fmt.Sprintf("Graphics(%d)", int(g))
}

// A Screen is where a guest's picture is seen, and how.
type Screen struct {
	Kind ScreenKind

	// FullScreen gives a window the whole screen from the start. Only with Window.
	FullScreen bool
}

// A ScreenKind is where a guest's picture is seen.
type ScreenKind int

// The screens.
const (
	NoScreen ScreenKind = iota
	// Window is a window on the screen of whoever starts the guest.
	Window
	// VNC and SPICE are for viewers, which connect through whoever starts the guest.
	// A viewer sees and types all: there is no password, and whoever may connect is
	// decided before.
	VNC
	SPICE
)

// String returns "none", "window", "vnc" or "spice".
func (k ScreenKind) String() string {
	switch k {
	case NoScreen:
		return "none"
	case Window:
		return "window"
	case VNC:
		return "vnc"
	case SPICE:
		return "spice"
	}
	return fmt.Sprintf("ScreenKind(%d)", int(k))
}

func validateScreen(g Graphics, s Screen) (errs []error) {
	if g < NoGraphics || g > StdVGA {
		errs = append(errs, fmt.Errorf("graphics: %v is none", g))
	}
	switch {
	case s.Kind < NoScreen || s.Kind > SPICE:
		errs = append(errs, fmt.Errorf("screen: %v is none", s.Kind))
	case s.Kind != NoScreen && g == NoGraphics:
		errs = append(errs, errors.New("screen: there are no graphics to show"))
	}
	if s.FullScreen && s.Kind != Window {
		errs = append(errs, errors.New("screen: only a window can have the full screen"))
	}
	return errs
}
