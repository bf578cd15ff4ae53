#!/bin/bash
# usage: gadgets.sh load N | gadgets.sh make NAME PRODUCT
# load: N ports of dummy_hcd and of usbip-vudc, what USB gadgets are made of, and the
# drivers of a host for them. make: the gadget NAME, with the ids 1209:PRODUCT, in
# configfs; it is plugged in by writing a port, dummy_udc.0 or usbip-vudc.0 and up, to the
# UDC it prints. Those that end in -ffs get their interfaces from who writes them to the
# ep0 of the file system it prints, too.
set -eu

load() {
  modprobe -r dummy_hcd 2>/dev/null || true
  modprobe dummy_hcd num="$1" is_super_speed=0 is_high_speed=1
  modprobe usbip-vudc num="$1"
  modprobe vhci-hcd
  # Of its eight controllers with two root hubs each, one is enough.
  for c in 1 2 3 4 5 6 7; do
    echo vhci_hcd.$c >/sys/bus/platform/drivers/vhci_hcd/unbind
  done
  for m in libcomposite usb_f_{uvc,uac1,acm,ncm,hid,mass_storage,fs} \
    uvcvideo snd_usb_audio cdc_acm cdc_ncm cdc_mbim usbhid hid_generic btusb usb_storage; do
    modprobe $m
  done
  mountpoint -q /sys/kernel/config || mount -t configfs none /sys/kernel/config
}

# use FUNCTION: in the gadget's only configuration
use() {
  mkdir functions/$1
  ln -s functions/$1 configs/c.1/
}

# A camera of one format and one size, as Documentation/usb/gadget_uvc.rst makes one.
webcam() {
  local f=functions/uvc.0
  mkdir $f
  mkdir -p $f/streaming/uncompressed/u/360p $f/streaming/header/h $f/control/header/h
  echo 640 >$f/streaming/uncompressed/u/360p/wWidth
  echo 360 >$f/streaming/uncompressed/u/360p/wHeight
  echo 333333 >$f/streaming/uncompressed/u/360p/dwFrameInterval
  ln -s $f/streaming/uncompressed/u $f/streaming/header/h/
  for speed in fs hs ss; do
    ln -s $f/streaming/header/h $f/streaming/class/$speed/
  done
  for speed in fs ss; do
    ln -s $f/control/header/h $f/control/class/$speed/
  done
  ln -s $f configs/c.1/
}

# Without requests of its own: where usbip-vudc is to take one back, the kernel (6.12)
# dies in vep_dequeue, and every host's driver starts and stops streams once.
audio() {
  mkdir functions/uac1.0
  echo 0 >functions/uac1.0/req_number
  ln -s functions/uac1.0 configs/c.1/
}

keyboard() {
  mkdir functions/hid.0
  echo 1 >functions/hid.0/protocol
  echo 1 >functions/hid.0/subclass
  echo 8 >functions/hid.0/report_length
  # The boot keyboard of the HID specification, appendix B.1.
  printf '\x05\x01\x09\x06\xa1\x01\x05\x07\x19\xe0\x29\xe7\x15\x00\x25\x01\x75\x01\x95\x08\x81\x02\x95\x01\x75\x08\x81\x01' >/tmp/report
  printf '\x95\x05\x75\x01\x05\x08\x19\x01\x29\x05\x91\x02\x95\x01\x75\x03\x91\x01\x95\x06\x75\x08\x15\x00\x25\x65' >>/tmp/report
  printf '\x05\x07\x19\x00\x29\x65\x81\x00\xc0' >>/tmp/report
  cat /tmp/report >functions/hid.0/report_desc
  ln -s functions/hid.0 configs/c.1/
}

storage() {
  truncate -s 1M /tmp/stick
  mkdir functions/mass_storage.0
  echo 1 >functions/mass_storage.0/lun.0/removable
  echo /tmp/stick >functions/mass_storage.0/lun.0/file
  ln -s functions/mass_storage.0 configs/c.1/
}

make() {
  local g=/sys/kernel/config/usb_gadget/$1
  mkdir $g
  cd $g
  echo 0x1209 >idVendor
  echo "$2" >idProduct
  mkdir -p strings/0x409 configs/c.1
  echo Independence >strings/0x409/manufacturer
  echo "lab $1" >strings/0x409/product
  echo "$2" >strings/0x409/serialnumber
  case $1 in
  webcam) webcam ;;
  audio) audio ;;
  modem) use acm.0 ;;
  ethernet) use ncm.0 ;;
  keyboard) keyboard ;;
  storage) storage ;;
  *-ffs)
    use ffs.$1
    mkdir -p /tmp/ffs/$1
    mount -t functionfs $1 /tmp/ffs/$1
    echo /tmp/ffs/$1/ep0
    ;;
  *) echo "no gadget $1" >&2; exit 1 ;;
  esac
  echo $g/UDC
}

"$@"
