/**
 * Brings the children of parent in line with a list of keys: one node for each, made once, and moved only where
 * the order has changed. A node that stays keeps its focus and selection, and nothing flickers.
 *
 * @param {Map} nodes  from key to node; it lives as long as the parent.
 * @param make(key)    makes the node of a key that is new.
 */
export function keyed(parent, nodes, keys, make) {
  const wanted = new Set(keys);
  for (const [key, node] of nodes) {
    if (wanted.has(key)) continue;
    node.remove();
    nodes.delete(key);
  }
  let place = parent.firstChild;
  for (const key of keys) {
    let node = nodes.get(key);
    if (!node) nodes.set(key, (node = make(key)));
    if (node === place) place = place.nextSibling;
    else parent.insertBefore(node, place);
  }
}
