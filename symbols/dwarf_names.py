"""The numbers of DWARF 5 section 7 that this package uses, and the GNU extensions that are found in practice."""

from __future__ import annotations

__all__ = ["AT", "FORM", "TAG"]


class TAG:
    """DW_TAG_*"""

    array_type, class_type, entry_point, enumeration_type, formal_parameter = 0x01, 0x02, 0x03, 0x04, 0x05
    imported_declaration, label, lexical_block, member, pointer_type = 0x08, 0x0A, 0x0B, 0x0D, 0x0F
    reference_type, compile_unit, string_type, structure_type, subroutine_type = 0x10, 0x11, 0x12, 0x13, 0x15
    typedef, union_type, unspecified_parameters, variant, inheritance = 0x16, 0x17, 0x18, 0x19, 0x1C
    inlined_subroutine, module, ptr_to_member_type, subrange_type, base_type = 0x1D, 0x1E, 0x1F, 0x21, 0x24
    const_type, enumerator, subprogram, template_type, variable, volatile_type = (
        0x26,
        0x28,
        0x2E,
        0x2F,
        0x34,
        0x35,
    )
    variant_part, restrict_type, namespace, imported_module, unspecified_type, partial_unit = (
        0x33,
        0x37,
        0x39,
        0x3A,
        0x3B,
        0x3C,
    )
    imported_unit, type_unit, rvalue_reference_type, template_alias, atomic_type, skeleton_unit = (
        0x3D,
        0x41,
        0x42,
        0x43,
        0x47,
        0x4A,
    )
    immutable_type = 0x4B


class AT:
    """DW_AT_*"""

    sibling, location, name, byte_size, bit_offset, bit_size = 0x01, 0x02, 0x03, 0x0B, 0x0C, 0x0D
    stmt_list, low_pc, high_pc, language, discr, discr_value = 0x10, 0x11, 0x12, 0x13, 0x15, 0x16
    comp_dir, const_value, inline, upper_bound, abstract_origin, artificial = (
        0x1B,
        0x1C,
        0x20,
        0x2F,
        0x31,
        0x34,
    )
    count, data_member_location, decl_file, decl_line, declaration, encoding = (
        0x37,
        0x38,
        0x3A,
        0x3B,
        0x3C,
        0x3E,
    )
    external, frame_base, specification, type, ranges = 0x3F, 0x40, 0x47, 0x49, 0x55
    data_bit_offset, call_column, call_file, call_line = 0x6B, 0x57, 0x58, 0x59
    linkage_name, str_offsets_base, addr_base, rnglists_base, dwo_name, loclists_base = (
        0x6E,
        0x72,
        0x73,
        0x74,
        0x76,
        0x8C,
    )
    MIPS_linkage_name, GNU_vector = 0x2007, 0x2107
    GNU_dwo_name, GNU_dwo_id, GNU_ranges_base, GNU_addr_base = 0x2130, 0x2131, 0x2132, 0x2133


class FORM:
    """DW_FORM_*"""

    addr, string, sdata, udata, ref_addr = 0x01, 0x08, 0x0D, 0x0F, 0x10
