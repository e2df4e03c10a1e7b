module hostkey/tools/ssh-to-age

go 1.25.0

toolchain go1.26.8

tool github.com/Mic92/ssh-to-age/cmd/ssh-to-age

require (
	filippo.io/edwards25519 v1.2.0 // indirect
	github.com/Mic92/ssh-to-age v1.3.0 // indirect
	golang.org/x/crypto v0.50.0 // indirect
	golang.org/x/sys v0.43.0 // indirect
)
