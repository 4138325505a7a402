// SPDX-License-Identifier: Apache-2.0
/*
 * The proof that a mapped device is the file, before anything is written to it: a mistake would overwrite somebody
 * else's blocks. Nothing but the file is written to here. Each piece is tried at both ends and in between.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "mapped.h"

enum { STEP_BYTES = 4 << 20 };

struct proof {
	struct mapping *mapping;
	uint64_t *places;
	size_t count;
	uint64_t seed;
	unsigned char *block;
	unsigned char *expected;
};

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static void pattern(unsigned char *block, uint64_t seed, uint64_t place)
{
	uint64_t *word = (void *)block;

	for (size_t i = 0; i < MAPPED_BLOCK / sizeof(*word); i++)
		word[i] = mix(seed ^ mix(place + i));
}

static uint64_t digest(const unsigned char *block)
{
	const uint64_t *word = (const void *)block;
	uint64_t sum = 0;

	for (size_t i = 0; i < MAPPED_BLOCK / sizeof(*word); i++)
		sum = mix(sum ^ word[i]);
	return sum;
}

static size_t find_places(const struct mapping *mapping, uint64_t *place)
{
	const struct extent *extent = extents_of(mapping->extents);
	size_t count = 0;

	for (size_t i = 0; i < mapping->extents->count && extent->logical < mapping->size; i++, extent++) {
		uint64_t end = extent->logical + extent->bytes;

		end = end < mapping->size ? end : mapping->size;
		for (uint64_t at = extent->logical; at < end; at += STEP_BYTES, count++)
			if (place)
				place[count] = at;
		if (place)
			place[count] = end - MAPPED_BLOCK;
		count++;
	}
	return count;
}

static int write_all(const struct proof *proof, uint64_t seed, struct reply *rep)
{
	const struct backing *backing = proof->mapping->backing;

	for (size_t i = 0; i < proof->count; i++) {
		pattern(proof->block, seed, proof->places[i]);
		if (pwrite(backing->fd, proof->block, MAPPED_BLOCK, (off_t)proof->places[i]) != MAPPED_BLOCK)
			return reply_fail(rep, errno, "write %s", backing->path);
	}
	if (fsync(backing->fd))
		return reply_fail(rep, errno, "fsync %s", backing->path);
	/* Nothing of the file stays in the page cache, where it would hide what is on the disk. */
	posix_fadvise(backing->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

static int read_at(const struct proof *proof, uint64_t place, struct reply *rep)
{
	if (pread(proof->mapping->fd, proof->block, MAPPED_BLOCK, (off_t)place) != MAPPED_BLOCK)
		return reply_fail(rep, errno ? errno : EIO, "read %llu at the mapped device",
				  (unsigned long long)place);
	return 0;
}

static int differs(const struct proof *proof, uint64_t place, struct reply *rep)
{
	return reply_fail(rep, 0, "%s: the mapped device does not hold its byte %llu", proof->mapping->backing->path,
			  (unsigned long long)place);
}

static int verify_plain(const struct proof *proof, struct reply *rep)
{
	if (write_all(proof, proof->seed, rep))
		return -1;
	for (size_t i = 0; i < proof->count; i++) {
		if (read_at(proof, proof->places[i], rep))
			return -1;
		pattern(proof->expected, proof->seed, proof->places[i]);
		if (memcmp(proof->block, proof->expected, MAPPED_BLOCK))
			return differs(proof, proof->places[i], rep);
	}
	return 0;
}

static int digests(const struct proof *proof, uint64_t seed, uint64_t *found, struct reply *rep)
{
	if (write_all(proof, seed, rep))
		return -1;
	for (size_t i = 0; i < proof->count; i++) {
		if (read_at(proof, proof->places[i], rep))
			return -1;
		found[i] = digest(proof->block);
	}
	return 0;
}

/* The same text at the same sector is encrypted the same: a block that follows the file to and fro is the file's. */
static int verify_encrypted(const struct proof *proof, struct reply *rep)
{
	SCOPED_BUFFER room = { 0 };
	uint64_t *first, *other, *again;

	if (buffer_make(&room, 3 * proof->count, sizeof(*first), rep))
		return -1;
	first = room.data;
	other = first + proof->count;
	again = other + proof->count;
	if (digests(proof, proof->seed, first, rep) || digests(proof, ~proof->seed, other, rep) ||
	    digests(proof, proof->seed, again, rep))
		return -1;
	for (size_t i = 0; i < proof->count; i++)
		if (first[i] == other[i] || first[i] != again[i])
			return differs(proof, proof->places[i], rep);
	return 0;
}

/* The file system has put what was written where the file was before. */
static int verify_unmoved(const struct proof *proof, struct reply *rep)
{
	const struct mapping *mapping = proof->mapping;
	SCOPED_EXTENTS now = { 0 };

	if (extents_ask(&now, mapping->backing->fd, mapping->backing->path, rep))
		return -1;
	for (size_t i = 0; i < proof->count; i++) {
		uint64_t before, after;

		if (!extents_place(mapping->extents, proof->places[i], &before) ||
		    !extents_place(&now, proof->places[i], &after) || before != after)
			return reply_fail(rep, 0, "%s: the file system has moved it", mapping->backing->path);
	}
	return 0;
}

int mapping_verify(struct mapping *mapping, struct reply *rep)
{
	SCOPED_BUFFER places = { 0 }, blocks = { 0 };
	struct proof proof = { .mapping = mapping, .count = find_places(mapping, NULL) };

	/* A buffer begins at a page, as reads past the page cache want it. */
	if (buffer_make(&places, proof.count, sizeof(*proof.places), rep) || buffer_make(&blocks, 2, MAPPED_BLOCK, rep))
		return -1;
	if (getrandom(&proof.seed, sizeof(proof.seed), 0) != sizeof(proof.seed))
		return reply_fail(rep, errno, "getrandom");
	proof.places = places.data;
	proof.block = blocks.data;
	proof.expected = proof.block + MAPPED_BLOCK;
	find_places(mapping, proof.places);
	mapping->verified = proof.count;
	if (mapping->encrypted ? verify_encrypted(&proof, rep) : verify_plain(&proof, rep))
		return -1;
	return verify_unmoved(&proof, rep);
}
