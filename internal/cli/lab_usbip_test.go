package cli_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// attach plugs the gadget of usbip-vudc's controller n into port n of the host controller
// vhci_hcd.0. What runs between machines elsewhere is a pair of sockets here, which the
// kernel keeps.
func attach(t *testing.T, n int) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ends[0])
	defer unix.Close(ends[1])
	const highSpeed = 3 // enum usb_device_speed, linux/usb/ch9.h
	kernelFile(t, fmt.Sprintf("/sys/devices/platform/usbip-vudc.%d/usbip_sockfd", n), fmt.Sprint(ends[0]))
	kernelFile(t, "/sys/devices/platform/vhci_hcd.0/attach", fmt.Sprint(n, ends[1], n, highSpeed))
}

func detach(t *testing.T, n int) {
	t.Helper()
	kernelFile(t, "/sys/devices/platform/vhci_hcd.0/detach", fmt.Sprint(n))
}

func kernelFile(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(value+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Of linux/videodev2.h and linux/usb/g_uvc.h.
const (
	vidiocDQEvent        = 0x80885659 // _IOR('V', 89, struct v4l2_event)
	vidiocSubscribeEvent = 0x4020565a // _IOW('V', 90, struct v4l2_event_subscription)
	uvciocSendResponse   = 0x40405501 // _IOW('U', 1, struct uvc_request_data)
	uvcEventSetup        = 0x08000004
)

// answerUVC is the program that a UVC gadget needs beside the kernel: without one
// that waits for its requests it is not connected. It answers each with zeros, for a
// camera without controls, and it never streams.
func answerUVC(t *testing.T, udc string) {
	t.Helper()
	nodes, err := filepath.Glob("/sys/class/udc/" + udc + "/device/gadget.*/video4linux/video*")
	if err != nil || len(nodes) != 1 {
		t.Fatalf("the video node of %s: %q, %v", udc, nodes, err)
	}
	node := filepath.Join("/dev", filepath.Base(nodes[0]))
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("%s: %v", node, err)
	}
	subscription := make([]byte, 32)
	binary.NativeEndian.PutUint32(subscription, uvcEventSetup)
	if _, err := ioctl.Struct(uintptr(fd), vidiocSubscribeEvent, subscription); err != nil {
		t.Fatalf("%s: VIDIOC_SUBSCRIBE_EVENT: %v", node, err)
	}
	go func() { // until the machine ends
		for {
			if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, -1); err != nil && err != unix.EINTR {
				return
			}
			event := make([]byte, 136)
			if _, err := ioctl.Struct(uintptr(fd), vidiocDQEvent, event); err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			request := event[8:16] // struct usb_ctrlrequest, always little endian
			response := make([]byte, 64)
			binary.NativeEndian.PutUint32(response, uint32(min(binary.LittleEndian.Uint16(request[6:]), 60)))
			_, _ = ioctl.Struct(uintptr(fd), uvciocSendResponse, response)
		}
	}()
}
