package pcapng

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// wireshark runs one of Wireshark's programs and returns what it printed. A
// warning is a failure; that it runs as root is not about the file.
func wireshark(t *testing.T, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs %s", program)
	}
	var warnings strings.Builder
	cmd := exec.Command(program, args...)
	cmd.Stderr = &warnings
	out, err := cmd.Output()
	said := strings.TrimSpace(strings.ReplaceAll(warnings.String(), `Running as user "root" and group "root". This could be dangerous.`, ""))
	if err != nil || said != "" {
		t.Fatalf("%s: %v: %s", program, err, said)
	}
	return string(out)
}

func saved(t *testing.T, file []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sample.pcapng")
	must(t, os.WriteFile(path, file, 0o600))
	return path
}

func TestTsharkShowsWhatWasWritten(t *testing.T) {
	file, _ := sample(t)
	path := saved(t, file)
	fields := []string{"frame.interface_name", "frame.interface_description", "frame.packet_flags", "frame.packet_id", "frame.drop_count",
		"frame.time_epoch", "frame.cap_len", "frame.len", "ip.dst", "frame.comment"}
	args := []string{"-r", path, "-n", "-T", "fields", "-E", "separator=|", "-E", "aggregator=&"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	got := strings.Split(strings.TrimSuffix(wireshark(t, "tshark", args...), "\n"), "\n")
	want := []string{
		"back/eth0|container back|0x00000011|1|3|1790000000.123456789|60|1514|198.51.100.7|journey 1, hop 1 of 2&and a second ⇒ comment",
		"host/tun0||0x00000002|1||1789999996.123456788|41|41|198.51.100.7|",
		"back/eth0|container back|0x00000005|||1790000000.123456790|60|60|198.51.100.7|",
		"back/eth0|container back|0x0000000c|||1790000000.123456791|60|60|198.51.100.7|",
		"back/eth0|container back|0x00000009|1099511627776||1790000000.123456792|60|60|198.51.100.7|",
	}
	if !slices.Equal(got, want) {
		t.Errorf("tshark shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if names := wireshark(t, "tshark", "-r", path, "-N", "n", "-T", "fields", "-e", "ip.src_host"); strings.Count(names, "back") != 5 {
		t.Errorf("tshark names the sources\n%s", names)
	}
}

func TestCapinfosShowsTheFile(t *testing.T) {
	file, _ := sample(t)
	said := wireshark(t, "capinfos", saved(t, file))
	for _, want := range []string{
		"File timestamp precision:  nanoseconds (9)", "Number of packets:   5", "Capture hardware:    a machine", "Capture oper-sys:    Linux 6.1",
		"Capture application: natlens 1", "Capture comment:     made by a test", "Number of interfaces in file: 2",
		"Name = back/eth0", "Description = container back", "Comment = namespace net:[4026532001]", "Number of stat entries = 1",
		"Number of resolved IPv4 addresses in file: 2", "Number of resolved IPv6 addresses in file: 1",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("capinfos does not say %q:\n%s", want, said)
		}
	}
}

// Wireshark's editcap writes every form of both formats.
func TestWhatEditcapWrites(t *testing.T) {
	var out bytes.Buffer
	w, err := NewWriter(&out, Section{})
	must(t, err)
	id, err := w.Interface(Interface{LinkType: LinkEthernet, Name: "eth0"})
	must(t, err)
	for i := range 20 {
		must(t, w.Packet(&Packet{Interface: id, Time: noon + int64(i)*1001, Data: frame(60 + i), WireLength: uint32(60 + 2*i)}))
	}
	must(t, w.Flush())
	path := saved(t, out.Bytes())
	for _, form := range []string{"pcap", "nsecpcap", "pcapng"} {
		converted := path + "." + form
		wireshark(t, "editcap", "-F", form, path, converted)
		file, err := os.ReadFile(converted)
		must(t, err)
		blocks, err := readAll(t, file)
		must(t, err)
		packets := packetsOf(blocks)
		if len(packets) != 20 {
			t.Errorf("%s: %d packets", form, len(packets))
		}
		for i, p := range packets {
			at := noon + int64(i)*1001
			if form == "pcap" {
				at = at / 1000 * 1000
			}
			if p.Time != at || !bytes.Equal(p.Data, frame(60+i)) || int(p.WireLength) != 60+2*i {
				t.Errorf("%s: packet %d: %+v", form, i, p)
			}
		}
	}
}
