// SPDX-License-Identifier: Apache-2.0
/* The layout of result files: asserted for every processor that the probe is built for, and told to whoever asks. */
#include "records.h"
#include "apps.h"

struct field {
	const char *name;
	uint64_t offset, bytes;
};

/* 0, once it is sure at compile time that a record is laid out as README.md promises. */
#define ASSERTED(true_of_it)                                          \
	(sizeof(struct {                                              \
		 _Static_assert(true_of_it, "as README.md promises"); \
		 char one;                                            \
	 }) -                                                         \
	 1)
#define FIELD(record, field, at, bytes)                                    \
	{ #field, (at) + ASSERTED(offsetof(struct record, field) == (at)), \
	  (bytes) + ASSERTED(sizeof(((struct record *)0)->field) == (bytes)) }

static const struct field sample_fields[] = {
	FIELD(sample, t_ns, 0, 8),   FIELD(sample, ns, 8, 8),	  FIELD(sample, page, 16, 4),
	FIELD(sample, label, 20, 2), FIELD(sample, ahead, 22, 2), { 0 },
};
static const struct field memory_sample_fields[] = {
	FIELD(memory_sample, t_ns, 0, 8),
	FIELD(memory_sample, available_kib, 8, 8),
	FIELD(memory_sample, zram_used_kib, 16, 8),
	FIELD(memory_sample, swap_used_kib, 24, 8),
	FIELD(memory_sample, written_back_4k, 32, 8),
	FIELD(memory_sample, psi_some_permille, 40, 8),
	FIELD(memory_sample, psi_full_permille, 48, 8),
	{ 0 },
};
static const struct field round_fields[] = {
	FIELD(round, t_ns, 0, 8),
	FIELD(round, end_ns, 8, 8),
	FIELD(round, pages_4k, 16, 8),
	FIELD(round, errnum, 24, 8),
	{ 0 },
};
static const struct field extent_fields[] = {
	FIELD(extent, logical, 0, 8),
	FIELD(extent, physical, 8, 8),
	FIELD(extent, bytes, 16, 8),
	{ 0 },
};

static const struct {
	const char *name;
	uint64_t bytes;
	const struct field *fields; /* ends with an empty one */
} records[] = {
	{ "sample", 24 + ASSERTED(sizeof(struct sample) == 24), sample_fields },
	{ "memory_sample", 56 + ASSERTED(sizeof(struct memory_sample) == 56), memory_sample_fields },
	{ "round", 32 + ASSERTED(sizeof(struct round) == 32), round_fields },
	{ "extent", 24 + ASSERTED(sizeof(struct extent) == 24), extent_fields },
};

static void reply_names(struct reply *rep, const char *key, const char *const *name)
{
	reply_open(rep, key, '[');
	for (; *name; name++)
		reply_text(rep, NULL, *name);
	reply_close(rep, '[');
}

int cmd_describe(const struct request *req, struct reply *rep)
{
	(void)req;
	reply_open(rep, "records", '{');
	for (size_t i = 0; i < COUNT(records); i++) {
		reply_open(rep, records[i].name, '{');
		reply_u64(rep, "bytes", records[i].bytes);
		reply_open(rep, "fields", '{');
		for (const struct field *field = records[i].fields; field->name; field++) {
			reply_open(rep, field->name, '{');
			reply_u64(rep, "offset", field->offset);
			reply_u64(rep, "bytes", field->bytes);
			reply_close(rep, '{');
		}
		reply_close(rep, '{');
		reply_close(rep, '{');
	}
	reply_close(rep, '{');
	reply_open(rep, "rows", '{');
	reply_names(rep, "switches", switch_columns);
	reply_names(rep, "deaths", death_columns);
	reply_close(rep, '{');
	return 0;
}
