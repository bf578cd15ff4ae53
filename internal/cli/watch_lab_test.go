package cli_test

import (
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// What a real kernel says when drivers and devices go and come back is what a watch
// prints, line by line. How long each takes is printed, and not judged on a machine
// that is emulated by software.
func TestInsideWatch(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	status, said := inside(t, lab.Machine{
		Args: []string{"/bin/bash", "-c", `
			indy=$0 net=0000:01:00.0 pci=/sys/bus/pci seen=0
			now() { local t; read -r t _ </proc/uptime; echo ${t/./}; } # hundredths of a second
			# line LINE: the next line is LINE, as far as it goes
			line() {
				local begin=$(now) said
				seen=$((seen + 1))
				until said=$(sed -n ${seen}p /tmp/watch) && [ -n "$said" ]; do
					[ $(($(now) - begin)) -lt 6000 ] || { echo "FAILED: nothing, not $1"; cat /tmp/watch /tmp/errors; exit 90; }
					sleep 0.02
				done
				[[ $said == "$1"* ]] || { echo "FAILED: $said, not $1"; cat /tmp/watch /tmp/errors; exit 91; }
				echo "ok after $(($(now) - begin))0 ms: $said"
			}
			: >/tmp/watch
			setpriv --reuid=65534 --regid=65534 --clear-groups $indy watch --initial >/tmp/watch 2>/tmp/errors & watch=$!
			until [ $(wc -l </tmp/watch) -ge $($indy devices --json | grep -c '"id":') ]; do
				kill -0 $watch || { cat /tmp/errors; exit 92; }
				sleep 0.1
			done
			sleep 1 # for what the machine still has to say of its start
			seen=$(wc -l </tmp/watch)

			echo $net >$pci/drivers/e1000e/unbind; line "~ ethernet        pci:$net  -  "
			echo $net >$pci/drivers/e1000e/bind;   line "~ ethernet        pci:$net  e1000e  "
			echo 1 >$pci/devices/$net/remove;      line "- ethernet        pci:$net  e1000e  "
			echo 1 >$pci/rescan;                   line "+ ethernet        pci:$net  "
			for i in $(seq 50); do [ -e $pci/drivers/e1000e/$net ] && break; sleep 0.1; done; sleep 2
			seen=$(wc -l </tmp/watch) # the driver may be there with the device or after it
			echo 1 >$pci/devices/$net/remove; echo 1 >$pci/rescan
			line "- ethernet        pci:$net  e1000e  "; line "+ ethernet        pci:$net  "
			sleep 3; seen=$(wc -l </tmp/watch)

			echo 1 >/sys/bus/usb/devices/1-2/remove; line "- input           usb:1-2           usbhid  "
			echo 0 >/sys/bus/usb/devices/1-1/authorized; line "~ usb-device      usb:1-1           -  "
			echo 1 >/sys/bus/usb/devices/1-1/authorized; line "~ input           usb:1-1           usbhid  "
			$indy assign 0000:00:14.0 --allow no-reset >/dev/null 2>&1 || exit 93
			# Between the lines may be how the devices were on the way.
			for line in "- [a-z-]* *usb:1-1  " "~ usb-controller  pci:0000:00:14.0  vfio-pci  "; do
				for i in $(seq 100); do tail -n +$((seen + 1)) /tmp/watch | grep -q "^$line" && break; sleep 0.1; done
				[ $i -lt 100 ] || { echo "FAILED: no $line"; cat /tmp/watch; exit 96; }
			done
			kill $watch; wait $watch; [ $? = 143 ] || exit 94
			[ ! -s /tmp/errors ] || { cat /tmp/errors; exit 95; }
			echo done`, labtest.BuildIndy(t)},
	})
	t.Log(said)
	if status != 0 || !strings.HasSuffix(said, "done\n") {
		t.Errorf("exit status %d", status)
	}
}
