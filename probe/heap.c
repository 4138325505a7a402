// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "content.h"
#include "heap.h"

enum {
	REGIONS = 4,
	CLASSES_LOG2 = 5,
	RANKS_LOG2 = 9,
	LONGEST_WORD = 10,
	/* What of_program() is asked about; regions come first. */
	OF_CLASSES = 1000,
	OF_WORDS = 2000,
};

/* A page that is being written, from its beginning on. */
struct pen {
	uint64_t seed, state;
	unsigned char *at, *end;
	/* What is near in the heap points near: high bits that the page's references have in common. */
	uint32_t near;
};

static void put(struct pen *pen, const void *data, size_t bytes)
{
	size_t room = (size_t)(pen->end - pen->at);

	bytes = bytes < room ? bytes : room;
	memcpy(pen->at, data, bytes);
	pen->at += bytes;
}

static void put_u32(struct pen *pen, uint32_t value)
{
	put(pen, &value, sizeof(value));
}

static void put_u64(struct pen *pen, uint64_t value)
{
	put(pen, &value, sizeof(value));
}

static uint32_t draw(struct pen *pen, uint32_t count)
{
	return (uint32_t)(splitmix64(&pen->state) % count);
}

/* 0 to 2^log2 - 2, each number about as often as its rank has it by Zipf's law. */
static uint32_t draw_rank(struct pen *pen, uint32_t log2)
{
	uint32_t octave = draw(pen, log2);

	return (1u << octave) + draw(pen, 1u << octave) - 1;
}

/* A number that depends on the program only, not on the page. */
static uint64_t of_program(const struct pen *pen, uint64_t what)
{
	uint64_t state = pen->seed ^ (what * 0xd6e8feb86659fd93u);

	return splitmix64(&state);
}

/* 64 bits wide, into one of a few regions of the address space. */
static uint64_t pointer(struct pen *pen)
{
	uint64_t region = of_program(pen, draw_rank(pen, 3) % REGIONS) & 0xffff00000u;

	return 0x7000000000u + region + (pen->near & 0xf0000) + (draw_rank(pen, 12) << 4);
}

/* 32 bits wide, as managed heaps of phones have them. */
static uint32_t reference(struct pen *pen)
{
	return 0x12c00000u + (pen->near & 0x3f0000) + (draw_rank(pen, 13) << 3);
}

static uint32_t class_address(uint32_t class)
{
	return 0x70000000u + class * 0x98;
}

static void put_field(struct pen *pen, uint32_t type)
{
	switch (type) {
	case 0:
	case 1:
		put_u32(pen, reference(pen));
		break;
	case 2:
		put_u32(pen, draw_rank(pen, 8));
		break;
	case 3:
		put_u32(pen, draw(pen, 2));
		break;
	case 4:
		put_u32(pen, (uint32_t)splitmix64(&pen->state));
		break;
	default:
		put_u32(pen, 0);
		break;
	}
}

/* Objects of one class: where it has references, numbers and nulls is the same in each of them. */
static void put_objects(struct pen *pen)
{
	uint32_t class = draw_rank(pen, CLASSES_LOG2), count = 1 + draw(pen, 8);
	uint64_t layout = of_program(pen, OF_CLASSES + class);
	uint32_t fields = 2 + (layout & 7);

	for (uint32_t i = 0; i < count; i++) {
		put_u32(pen, class_address(class));
		put_u32(pen, 0);
		for (uint32_t field = 0; field < fields; field++)
			put_field(pen, layout >> (8 + 4 * field) & 7);
	}
}

/* Nodes of lists, trees and tables of native code. */
static void put_nodes(struct pen *pen)
{
	uint32_t count = 1 + draw(pen, 6), pointers = 1 + draw(pen, 3), numbers = draw(pen, 3);

	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t k = 0; k < pointers; k++)
			put_u64(pen, draw(pen, 4) ? pointer(pen) : 0);
		for (uint32_t k = 0; k < numbers; k++)
			put_u64(pen, draw_rank(pen, 10));
	}
}

/* A word of the program's language, of vowels and consonants as frequent as in English; rare words are longer. */
static size_t make_word(const struct pen *pen, uint32_t rank, char *word)
{
	static const char vowels[] = "eeeeeeaaaaaoooooiiiiuuy", consonants[] = "tttttnnnnssssrrrrhhhhllldddccmmwfgpbvk";
	uint64_t bits = of_program(pen, OF_WORDS + rank);
	size_t length = 1 + (bits & 3), at = 0;

	for (uint32_t more = rank; more > 1 && length < LONGEST_WORD; more /= 4)
		length++;
	for (bits >>= 2; at < length; at++, bits = bits >> 5 | bits << 59)
		word[at] = (at + (bits >> 40 & 1)) % 2 ? vowels[bits % (sizeof(vowels) - 1)] :
							 consonants[bits % (sizeof(consonants) - 1)];
	word[at++] = ' ';
	return at;
}

/* A string as a managed heap holds it: class, lock, length, characters of so many bytes; ends aligned to 8. */
static void put_text(struct pen *pen, size_t width)
{
	static const unsigned char zeros[8];
	uint32_t words = 2 + draw(pen, 24);
	char word[LONGEST_WORD + 1];

	put_u32(pen, class_address(0));
	put_u32(pen, 0);
	/* About as long as it gets. */
	put_u32(pen, words * 6);
	while (words--) {
		size_t length = make_word(pen, draw_rank(pen, RANKS_LOG2), word);

		for (size_t i = 0; i < length; i++) {
			unsigned char unit[2] = { (unsigned char)word[i], 0 };

			put(pen, unit, width);
		}
	}
	put(pen, zeros, (size_t)(pen->end - pen->at) % 8);
}

static void put_empty(struct pen *pen)
{
	static const unsigned char zeros[16];

	for (uint32_t lines = 1 + draw(pen, 26); lines; lines--)
		put(pen, zeros, sizeof(zeros));
}

/* Hashes, keys, pieces of pictures. */
static void put_noise(struct pen *pen)
{
	for (uint32_t words = 2 + draw(pen, 8); words; words--)
		put_u64(pen, splitmix64(&pen->state));
}

void heap_fill(uint64_t seed, uint64_t state, unsigned char *out, size_t bytes)
{
	struct pen pen = { seed, state, out, out + bytes, 0 };
	/* Some pages are mostly text, some mostly empty: shares in per cent. */
	uint32_t text = draw(&pen, 30), empty = 5 + draw(&pen, 45);

	pen.near = draw(&pen, 1u << 22);
	while (pen.at < pen.end) {
		uint32_t point = draw(&pen, 100);

		if (point < text)
			put_text(&pen, 1 + draw(&pen, 2));
		else if (point < text + empty)
			put_empty(&pen);
		else if (point < 78)
			put_objects(&pen);
		else if (point < 97)
			put_nodes(&pen);
		else
			put_noise(&pen);
	}
}
