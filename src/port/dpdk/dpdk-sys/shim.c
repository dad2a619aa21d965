#include "shim.h"

#include <semaphore.h>

/* An mbuf's place in its pool lies in the private area behind it. */
static_assert(sizeof(uint64_t) % RTE_MBUF_PRIV_ALIGN == 0, "DPDK wants private areas of whole units");

static uint32_t *number_of(struct rte_mbuf *mbuf) {
    return (uint32_t *)rte_mbuf_to_priv(mbuf);
}

static void number(struct rte_mempool *pool, void *members, void *object, unsigned int index) {
    (void)pool;
    ((struct rte_mbuf **)members)[index] = (struct rte_mbuf *)object;
    *number_of((struct rte_mbuf *)object) = index;
}

static void read_frame(struct rte_mbuf *mbuf, struct rte_mempool *pool, struct shim_frame *frame) {
    frame->mbuf = mbuf;
    frame->memory = (uint8_t *)mbuf->buf_addr;
    frame->memory_size = mbuf->buf_len;
    frame->offset = mbuf->data_off;
    frame->length = mbuf->data_len;
    frame->segments = mbuf->nb_segs;
    frame->vlan = mbuf->vlan_tci;
    frame->number = mbuf->pool == pool ? *number_of(mbuf) : SHIM_NUMBER_NONE;
    frame->flags = mbuf->ol_flags;
}

int shim_errno(void) {
    return rte_errno;
}

struct rte_mempool *shim_pool_create(const char *name, uint32_t count, uint16_t data_room, int socket,
                                     struct rte_mbuf **members) {
    /* No cache: those belong to DPDK's own threads, and ours are none. */
    struct rte_mempool *pool = rte_pktmbuf_pool_create(name, count, 0, sizeof(uint64_t), data_room, socket);
    if (pool != NULL)
        rte_mempool_obj_iter(pool, number, members);
    return pool;
}

/* Larger bursts would only make the arrays below larger. */
#define BURST_MAX 64

int shim_allocate(struct rte_mempool *pool, struct shim_frame *frames, uint16_t count) {
    struct rte_mbuf *mbufs[BURST_MAX];
    if (count > BURST_MAX)
        count = BURST_MAX;
    int result = rte_pktmbuf_alloc_bulk(pool, mbufs, count);
    for (uint16_t place = 0; result == 0 && place < count; place++)
        read_frame(mbufs[place], pool, &frames[place]);
    return result;
}

uint16_t shim_receive(uint16_t port, uint16_t queue, struct rte_mempool *pool, struct shim_frame *frames,
                      uint16_t count) {
    struct rte_mbuf *mbufs[BURST_MAX];
    if (count > BURST_MAX)
        count = BURST_MAX;
    uint16_t received = rte_eth_rx_burst(port, queue, mbufs, count);
    for (uint16_t place = 0; place < received; place++) {
        /* The headers of all are on their way while the first is looked at. */
        rte_prefetch0(rte_pktmbuf_mtod(mbufs[place], void *));
        read_frame(mbufs[place], pool, &frames[place]);
    }
    return received;
}

void shim_describe(struct rte_mbuf *mbuf, uint16_t offset, uint16_t length, uint64_t flags, uint16_t l2_length,
                   uint16_t l3_length, uint16_t l4_length, uint16_t segment_size) {
    mbuf->data_off = offset;
    mbuf->data_len = length;
    mbuf->pkt_len = length;
    mbuf->ol_flags = flags;
    mbuf->tx_offload = 0;
    mbuf->l2_len = l2_length;
    mbuf->l3_len = l3_length;
    mbuf->l4_len = l4_length;
    mbuf->tso_segsz = segment_size;
}

uint16_t shim_transmit(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count, bool *refused) {
    uint16_t prepared = rte_eth_tx_prepare(port, queue, mbufs, count);
    uint16_t sent = prepared > 0 ? rte_eth_tx_burst(port, queue, mbufs, prepared) : 0;
    *refused = sent == prepared && prepared < count;
    return sent;
}

void shim_free(struct rte_mbuf **mbufs, uint16_t count) {
    rte_pktmbuf_free_bulk(mbufs, count);
}

struct closing {
    uint16_t port;
    sem_t done;
};

static void close_device(void *argument) {
    struct closing *closing = argument;
    rte_eth_dev_stop(closing->port);
    rte_eth_dev_close(closing->port);
    sem_post(&closing->done);
}

int shim_close_between_interrupts(uint16_t port) {
    struct closing closing = {.port = port};
    sem_init(&closing.done, 0, 0);
    /* Alarms go off in the interrupt thread. */
    int result = rte_eal_alarm_set(1, close_device, &closing);
    while (result == 0 && sem_wait(&closing.done) != 0)
        ; /* Interrupted by a signal. */
    sem_destroy(&closing.done);
    return result;
}
