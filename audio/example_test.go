package audio_test

import (
	"fmt"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/hostfs"
)

// With hostfs.Live() in place of the tree this lists the cards of the running
// machine.
func ExampleCards() {
	host := new(hostfs.Tree)
	const dir = "devices/pci0000:00/0000:00:1f.3/sound/card0"
	_ = host.Put("sys/"+dir+"/id", []byte("PCH\n"))
	_ = host.Symlink("../../"+dir, "sys/class/sound/card0")
	for _, node := range []string{"controlC0", "pcmC0D0p"} {
		_ = host.Symlink("../../"+dir+"/"+node, "sys/class/sound/"+node)
	}
	_ = host.Put("proc/asound/cards", []byte(" 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n"))

	cards, err := audio.Cards(host)
	if err != nil {
		fmt.Println(err) // what could be read is in cards all the same
	}
	for _, c := range cards {
		fmt.Printf("%d %s (%s) on %v\n", c.Index, c.ID, c.Name, c.Function)
		for _, n := range c.Nodes {
			fmt.Println("  /" + n)
		}
	}
	// Output:
	// 0 PCH (HDA Intel PCH) on 0000:00:1f.3
	//   /dev/snd/controlC0
	//   /dev/snd/pcmC0D0p
}
