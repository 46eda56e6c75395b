# Print the kubeconfig for use from outside, and give the login user one for use here. A secret.
# usage: k3s_kubeconfig.sh SERVER_URL USER
server=$1 user=$2
source=/etc/rancher/k3s/k3s.yaml

home=$(getent passwd "$user" | cut -d : -f 6)
[ -n "$home" ] || fail "no user $user on $(hostname); lxd.loginUser must be the image's own user"
group=$(id -gn "$user")
install -d -m 700 -o "$user" -g "$group" "$home/.kube"
install -m 400 -o "$user" -g "$group" "$source" "$home/.kube/config"
# k3s's kubectl would take root's file, which nobody else can read, before the user's own.
mkdir -p /etc/profile.d
cat >/etc/profile.d/cilium-bgp.sh <<'PROFILE'
[ -n "$KUBECONFIG" ] || [ ! -r "$HOME/.kube/config" ] || export KUBECONFIG="$HOME/.kube/config"
PROFILE
sed "s|server: .*|server: $server|" "$source"
