"""SSH keys, read with `cryptography`, which is imported only when a key is: it is slow to load."""

MAKE = "Make one without: ssh-keygen -t ed25519 -N '' -f cilium-bgp"
CONVERT = "Convert it: puttygen KEY.ppk -O private-openssh -o cilium-bgp"


class PrivateKeyError(ValueError):
    """What is wrong with a private key, without showing it."""


def public_key(private_key: str) -> str:
    """The public half, `TYPE BASE64`, of a private key in OpenSSH or PEM form. Raises PrivateKeyError."""
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    if private_key.startswith(("ssh-", "ecdsa-", "---- BEGIN SSH2 PUBLIC")) or "BEGIN PUBLIC KEY" in private_key:
        raise PrivateKeyError(
            "is a public key; nobody can log in with it. Take the private half, the file without .pub"
        )
    if private_key.startswith("PuTTY-User-Key-File"):
        raise PrivateKeyError(f"is a PuTTY key; SSH here does not read it. {CONVERT}")
    if "-----BEGIN" not in private_key:
        raise PrivateKeyError("is not a key but perhaps a path; nobody can log in with it. Take the file's content")
    read = serialization.load_ssh_private_key if "OPENSSH" in private_key else serialization.load_pem_private_key
    try:
        key = read((private_key.strip() + "\n").encode(), password=None)
        openssh = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    except TypeError:
        raise PrivateKeyError(f"has a passphrase; nobody is there to type it. {MAKE}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise PrivateKeyError(
            f"is damaged, or of a kind that SSH does not use; nobody can log in with it. {MAKE.replace(' without', '')}"
        ) from None
    return openssh.decode()
