# Print which start of this machine it is: another word after each, a container's own starts included.
# usage: booted.sh
read -r kernel </proc/sys/kernel/random/boot_id
echo "$kernel $(sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20)"
