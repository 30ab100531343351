package filter

// services are the names that port and portrange know (IANA "Service Name and
// Transport Protocol Port Number Registry"; the unregistered ones are what their
// programs are called). /etc/services differs between hosts and is often absent
// in containers.
var services = map[string]uint16{
	"ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25,
	"domain": 53, "dns": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "http": 80,
	"kerberos": 88, "pop3": 110, "sunrpc": 111, "ntp": 123, "imap": 143, "imap2": 143,
	"snmp": 161, "snmptrap": 162, "bgp": 179, "ldap": 389, "https": 443,
	"microsoft-ds": 445, "isakmp": 500, "syslog": 514, "submission": 587,
	"ldaps": 636, "imaps": 993, "pop3s": 995, "socks": 1080, "openvpn": 1194,
	"ms-sql-s": 1433, "mqtt": 1883, "nfs": 2049, "docker": 2375, "docker-s": 2376,
	"etcd-client": 2379, "etcd-server": 2380, "mysql": 3306, "sip": 5060,
	"mdns": 5353, "postgresql": 5432, "postgres": 5432, "amqp": 5672,
	"redis": 6379, "http-alt": 8080, "prometheus": 9090, "memcached": 11211,
	"elasticsearch": 9200, "kafka": 9092, "mongodb": 27017, "wireguard": 51820,
	"vxlan": 4789,
}
