//! Network cards and what they are connected to: `qemuBuildNicDevProps`, `qemuBuildHostNetProps`.

use serde_json::json;

use super::{
    Backend, Parts, Properties, alias, backend_id, boot, hostdev, number, object, place, required,
    unsupported, virtio,
};
use crate::{
    domain::{Device, Error, Problem},
    hotplug::BackendKind,
};

pub(super) fn parts(device: Device<'_>) -> Result<Parts, Error> {
    let kind = device.get("actual/@type").or_else(|| device.get("@type")).unwrap_or_default();
    if kind == "hostdev" {
        return hostdev::assigned(device);
    }
    let netdev = netdev(device, &kind)?;
    let mut parts = Parts::frontend(card(device)?);
    parts.backends.push(Backend::Netdev(netdev.into_value()));
    Ok(parts)
}

/// The card, whatever it is connected to.
pub(super) fn card(device: Device<'_>) -> Result<Properties, Error> {
    let model = device.kind().into_owned();
    // A card of the board is a `-nic`: `qemuDomainSupportsNicdev`.
    if device.domain.machine().is_arm() && device.get("address/@type").is_none() {
        return Err(unsupported(device, format!("network card `{model}` of the board")));
    }
    let mut properties = match model.strip_prefix("virtio") {
        Some("" | "-transitional" | "-non-transitional") => on_virtio(device, &model)?,
        _ if model.is_empty() => return Err(device.error(Problem::MissingElement("model"))),
        _ => Properties::new(&model),
    };
    properties.put("netdev", backend_id(device, BackendKind::Netdev)?);
    properties.put("id", alias(device)?);
    // libvirt makes one up when it reads a definition; here nothing is made up, for it would not be the same again.
    let mac =
        device.get("mac/@address").ok_or_else(|| device.error(Problem::MissingElement("mac")))?;
    properties.put("mac", mac.to_ascii_lowercase());
    properties.positive("bootindex", boot::index(device)?);
    place::put(device, &mut properties)?;
    hostdev::rom(device, &mut properties)?;
    Ok(properties)
}

fn on_virtio(device: Device<'_>, model: &str) -> Result<Properties, Error> {
    let mut properties = virtio(device, "virtio-net", model)?;
    properties.some(
        "tx",
        match device.get("driver/@txmode").as_deref() {
            Some("iothread") => Some("bh"),
            Some("timer") => Some("timer"),
            _ => None,
        },
    );
    for (name, path) in [
        ("ioeventfd", "driver/@ioeventfd"),
        ("event_idx", "driver/@event_idx"),
        ("csum", "driver/host/@csum"),
        ("gso", "driver/host/@gso"),
        ("host_tso4", "driver/host/@tso4"),
        ("host_tso6", "driver/host/@tso6"),
        ("host_ecn", "driver/host/@ecn"),
        ("host_ufo", "driver/host/@ufo"),
        ("mrg_rxbuf", "driver/host/@mrg_rxbuf"),
        ("guest_csum", "driver/guest/@csum"),
        ("guest_tso4", "driver/guest/@tso4"),
        ("guest_tso6", "driver/guest/@tso6"),
        ("guest_ecn", "driver/guest/@ecn"),
        ("guest_ufo", "driver/guest/@ufo"),
        ("rss", "driver/@rss"),
        ("hash", "driver/@rss_hash_report"),
    ] {
        properties.switch(name, device.get(path));
    }
    if let Some(queues) = number(device, "driver/@queues")?.filter(|&queues| queues > 1) {
        properties.put("mq", true);
        if place::transport(device)? != "ccw" {
            properties.put("vectors", u64::from(queues) * 2 + 2);
        }
    }
    properties.positive("rx_queue_size", number(device, "driver/@rx_queue_size")?);
    properties.positive("tx_queue_size", number(device, "driver/@tx_queue_size")?);
    properties.positive("host_mtu", number(device, "mtu/@size")?);
    if device.get("teaming/@type").as_deref() == Some("persistent") {
        properties.put("failover", true);
    }
    Ok(properties)
}

fn netdev(device: Device<'_>, kind: &str) -> Result<Properties, Error> {
    let id = backend_id(device, BackendKind::Netdev)?;
    let socket = |how: &str, host: &str| {
        let port = required(device, "source/@port")?;
        Ok::<_, Error>(object(json!({"type": "socket", "id": id, how: format!("{host}:{port}")})))
    };
    let host = || required(device, "source/@address");
    match kind {
        "user" if device.get("backend/@type").is_none() => {
            let mut user = object(json!({"type": "user", "id": id}));
            let document = device.domain.document();
            for ip in document.children_named(device.node, "ip") {
                let Some(address) = document.attribute(ip, "address") else { continue };
                let prefix = document.number(ip, "@prefix")?;
                if document.has(ip, "@family", "ipv6") || address.contains(':') {
                    user.put("ipv6-prefix", &*address);
                    user.positive("ipv6-prefixlen", prefix);
                } else {
                    let prefix =
                        prefix.filter(|&prefix| prefix != 0).map(|prefix| format!("/{prefix}"));
                    user.put("net", format!("{address}{}", prefix.unwrap_or_default()));
                }
            }
            Ok(user)
        }
        "client" => socket("connect", &host()?),
        "server" => socket("listen", &device.get("source/@address").unwrap_or_default()),
        "mcast" => socket("mcast", &host()?),
        "udp" => {
            let mut udp = socket("udp", &host()?)?;
            let local = required(device, "source/local/@address")?;
            let port = required(device, "source/local/@port")?;
            udp.put("localaddr", format!("{local}:{port}"));
            Ok(udp)
        }
        // A tap device that is there already.
        "ethernet" if device.get("target/@managed").as_deref() == Some("no") => {
            let name = required(device, "target/@dev")?;
            let tap = json!({"type": "tap", "id": id, "ifname": name, "script": "no", "downscript": "no"});
            Ok(object(tap))
        }
        other => {
            let what = format!(
                "interface of type `{other}`, for which somebody has to make a tap device,"
            );
            Err(unsupported(device, what))
        }
    }
}
