//! The two files that a QEMU without an operating system needs.

/// 64 KiB whose reset vector is `hlt; jmp .-1`: the vCPU parks, and nothing but us drives devices.
pub(in crate::systems) fn parked_firmware() -> Vec<u8> {
    let mut rom = vec![0xF4; 1 << 16];
    rom[0xFFF0..0xFFF3].copy_from_slice(&[0xF4, 0xEB, 0xFD]);
    rom
}

/// 64 KiB for pSeries, where a vCPU begins at 0x100 and takes every interrupt at a multiple of 32 above it: from
/// wherever it comes, it puts the next timer interrupt off and cedes its processor (the hypercall `H_CEDE`). One that
/// ran in a loop would take a processor of ours from everybody else.
pub(super) fn parked_power_firmware() -> Vec<u8> {
    const BLOCK: [u32; 8] = [
        0x3C80_7FFF, // lis r4,0x7fff
        0x7C96_03A6, // mtdec r4
        0x3860_00E0, // li r3,H_CEDE
        0x4400_0022, // sc 1
        0x4BFF_FFF0, // b .-16
        0x6000_0000, // nop
        0x6000_0000,
        0x6000_0000,
    ];
    BLOCK.map(u32::to_be_bytes).as_flattened().repeat((1 << 16) / 32)
}

const CLUSTER: usize = 1 << 16;

/// An empty qcow2 image, for `savevm` to keep its snapshots in (`docs/interop/qcow2.txt`, version 2).
pub(super) fn empty_image() -> Vec<u8> {
    let [refcount_table, refcount_block, l1_table] = [1, 2, 3].map(|cluster| cluster * CLUSTER);
    let mut image = vec![0; 4 * CLUSTER];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"QFI\xfb");
    put(4, &2_u32.to_be_bytes());
    put(20, &16_u32.to_be_bytes()); // bits of a cluster
    put(24, &(1_u64 << 20).to_be_bytes()); // bytes of the disk
    put(36, &1_u32.to_be_bytes()); // entries of the L1 table
    put(40, &(l1_table as u64).to_be_bytes());
    put(48, &(refcount_table as u64).to_be_bytes());
    put(56, &1_u32.to_be_bytes()); // clusters of the refcount table
    put(refcount_table, &(refcount_block as u64).to_be_bytes());
    for cluster in 0..4 {
        put(refcount_block + 2 * cluster, &1_u16.to_be_bytes());
    }
    image
}
