/*
 * What DPDK has only as inline functions and macros, as functions and constants that can be bound.
 *
 * A burst is one call whatever the number of frames, so that no call is made for a frame alone but to fill in where it
 * begins and what the NIC shall do with it.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <rte_alarm.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_version.h>

static const uint64_t SHIM_RX_OFFLOAD_IPV4_CHECKSUM = RTE_ETH_RX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_RX_OFFLOAD_TCP_CHECKSUM = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_IPV4_CHECKSUM = RTE_ETH_TX_OFFLOAD_IPV4_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_TCP_CHECKSUM = RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
static const uint64_t SHIM_TX_OFFLOAD_TCP_SEGMENTATION = RTE_ETH_TX_OFFLOAD_TCP_TSO;
static const uint64_t SHIM_RSS_IP_TCP = RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP;
static const uint64_t SHIM_OWNER_NONE = RTE_ETH_DEV_NO_OWNER;

static const uint64_t SHIM_RX_VLAN_STRIPPED = RTE_MBUF_F_RX_VLAN_STRIPPED;
static const uint64_t SHIM_RX_IPV4_CHECKSUM_MASK = RTE_MBUF_F_RX_IP_CKSUM_MASK;
static const uint64_t SHIM_RX_IPV4_CHECKSUM_GOOD = RTE_MBUF_F_RX_IP_CKSUM_GOOD;
static const uint64_t SHIM_RX_IPV4_CHECKSUM_BAD = RTE_MBUF_F_RX_IP_CKSUM_BAD;
static const uint64_t SHIM_RX_TCP_CHECKSUM_MASK = RTE_MBUF_F_RX_L4_CKSUM_MASK;
static const uint64_t SHIM_RX_TCP_CHECKSUM_GOOD = RTE_MBUF_F_RX_L4_CKSUM_GOOD;
static const uint64_t SHIM_RX_TCP_CHECKSUM_BAD = RTE_MBUF_F_RX_L4_CKSUM_BAD;
static const uint64_t SHIM_TX_IPV4 = RTE_MBUF_F_TX_IPV4;
static const uint64_t SHIM_TX_IPV6 = RTE_MBUF_F_TX_IPV6;
static const uint64_t SHIM_TX_IPV4_CHECKSUM = RTE_MBUF_F_TX_IP_CKSUM;
static const uint64_t SHIM_TX_TCP_CHECKSUM = RTE_MBUF_F_TX_TCP_CKSUM;
static const uint64_t SHIM_TX_TCP_SEGMENTATION = RTE_MBUF_F_TX_TCP_SEG;

/* Bytes of an mbuf's memory that lie in front of a frame. */
static const uint16_t SHIM_HEADROOM = RTE_PKTMBUF_HEADROOM;

/* Cores with higher numbers are unknown to DPDK. */
static const uint32_t SHIM_CORES_MAX = RTE_MAX_LCORE;

/* No member of the pool that was asked about. */
static const uint32_t SHIM_NUMBER_NONE = UINT32_MAX;

/* What an mbuf is, read in one go. */
struct shim_frame {
    struct rte_mbuf *mbuf;
    /* The first byte of its memory, and how many bytes that has. */
    uint8_t *memory;
    uint16_t memory_size;
    /* Where in it the frame begins, and its length there. */
    uint16_t offset;
    uint16_t length;
    /* More than one: the frame goes on in other mbufs. */
    uint16_t segments;
    /* The tag that the NIC took off, if the flags say so. */
    uint16_t vlan;
    /* Its place in the pool, or SHIM_NUMBER_NONE. */
    uint32_t number;
    uint64_t flags;
};

/* rte_errno of this thread. */
int shim_errno(void);

/* A pool of `count` mbufs that know their places, which are written to `members`; NULL and shim_errno() on failure. */
struct rte_mempool *shim_pool_create(const char *name, uint32_t count, uint16_t data_room, int socket,
                                     struct rte_mbuf **members);

/* Takes `count` free mbufs, or none: 0 or a negative error. */
int shim_allocate(struct rte_mempool *pool, struct shim_frame *frames, uint16_t count);

/* Takes what has arrived, at most `count`. */
uint16_t shim_receive(uint16_t port, uint16_t queue, struct rte_mempool *pool, struct shim_frame *frames,
                      uint16_t count);

/* Says where the frame is in its mbuf, and what the NIC shall do with it. The last two are for segmentation only. */
void shim_describe(struct rte_mbuf *mbuf, uint16_t offset, uint16_t length, uint64_t flags, uint16_t l2_length,
                   uint16_t l3_length, uint16_t l4_length, uint16_t segment_size);

/* Sends, as many as there is room for; says whether the driver refuses the first one that is left for what it is. */
uint16_t shim_transmit(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count, bool *refused);

/* Gives back mbufs, each with those that it goes on in. */
void shim_free(struct rte_mbuf **mbufs, uint16_t count);

/* Stops and closes a device in DPDK's interrupt thread, where no interrupt of the device's own can come in between.
 * 0 once that is done, or a negative error. */
int shim_close_between_interrupts(uint16_t port);
