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

// Which jacks and speakers a card has, and which program keeps it busy.
func ExampleCodecs() {
	host := new(hostfs.Tree)
	_ = host.Put("proc/asound/card0/codec#0", []byte(`Codec: Realtek ALC257
Address: 0
Node 0x14 [Pin Complex] wcaps 0x40058d: Stereo Amp-Out
  Pincap 0x00010014: OUT EAPD Detect
  Pin Default 0x90170110: [Fixed] Speaker at Int N/A
Node 0x21 [Pin Complex] wcaps 0x40058d: Stereo Amp-Out
  Pincap 0x0001001c: OUT HP EAPD Detect
  Pin Default 0x0321101f: [Jack] HP Out at Ext Left
`))
	_ = host.Put("proc/asound/card0/pcm0p/sub0/status", []byte("state: RUNNING\nowner_pid   : 1234\n"))
	_ = host.Put("proc/1234/comm", []byte("pipewire\n"))

	card := audio.Card{Index: 0} // one of audio.Cards
	codecs, err := audio.Codecs(host, card)
	if err != nil {
		fmt.Println(err)
	}
	for _, c := range codecs {
		for _, pin := range c.Pins() {
			fmt.Println(c.Name+":", pin.Describe())
		}
	}
	streams, err := audio.Streams(host, card)
	if err != nil {
		fmt.Println(err)
	}
	for _, s := range streams {
		if s.InUse() {
			fmt.Println(s.Node(), "is open in", s.Program)
		}
	}
	// Output:
	// Realtek ALC257: Internal Speaker
	// Realtek ALC257: Headphone jack, left
	// dev/snd/pcmC0D0p is open in pipewire
}
