"""Batch normalisation, alone or with the ReLU behind it, fast on a CPU.

Only networks in training hold these layers; saved ones have Keras' own, or none.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("pneumoscope")
class FusedNormalisation(keras.layers.BatchNormalization):
    """Keras' batch normalisation of feature maps, the same function, in TensorFlow's fused float32 kernel.

    Keras 3 builds batch normalisation from single operations, each of which reads the feature maps again; the fused
    kernel reads them once. Input ``(n, height, width, channels)``, any float type; output in the layer's compute type.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        values = tf.cast(inputs, tf.float32)
        fixed = {"scale": tf.convert_to_tensor(self.gamma), "offset": tf.convert_to_tensor(self.beta)}
        if training and self.trainable:
            values, mean, variance = tf.compat.v1.nn.fused_batch_norm(
                values, **fixed, epsilon=self.epsilon, is_training=True
            )
            # The kernel gives the variance with n - 1 in the denominator, Keras keeps it with n.
            count = tf.cast(tf.size(values) // tf.shape(values)[-1], tf.float32)
            variance *= (count - 1) / count
            for kept, seen in ((self.moving_mean, mean), (self.moving_variance, variance)):
                kept.assign(kept * self.momentum + seen * (1 - self.momentum))
        else:
            values, _, _ = tf.compat.v1.nn.fused_batch_norm(
                values,
                **fixed,
                mean=tf.convert_to_tensor(self.moving_mean),
                variance=tf.convert_to_tensor(self.moving_variance),
                epsilon=self.epsilon,
                is_training=False,
            )
        return tf.cast(self._behind(values), self.compute_dtype)

    def _behind(self, values: Any) -> Any:
        return values


@keras.saving.register_keras_serializable("pneumoscope")
class NormalisedReLU(FusedNormalisation):
    """``relu(batch_normalisation(x))`` as one layer."""

    def _behind(self, values: Any) -> Any:
        return tf.nn.relu(values)
